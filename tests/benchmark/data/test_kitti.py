"""The KITTI reader, against hand-made folders and the real frames."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmark.data.calibration import Calibration, read_calibration, write_calibration
from benchmark.data.dataset import to_labels
from benchmark.data.errors import DataError
from benchmark.data.kitti import KittiDataset, crop_to_image
from benchmark.data.standard_split import standard_split
from detectors import operators

# A camera that looks along the LiDAR's x axis from the same place: u = 600 - 700 y / x.
AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
CAMERA = Calibration(
    p2=np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]),
    r0_rect=np.eye(3),
    tr_velo_to_cam=np.column_stack([AXES, [0.0, 0.0, 0.0]]),
)
SIZE = (1200, 360)
CAR = "Car 0.00 0 -1.57 500 170 700 230 1.50 1.60 4.00 0.00 1.70 20.00 -1.57\n"
DONT_CARE = "DontCare -1 -1 -10 10 20 30 40 -1 -1 -1 -1000 -1000 -1000 -10\n"


@pytest.fixture
def folder(tmp_path):
    """Three frames: an ordinary one, one without objects, one without points and objects."""
    training = tmp_path / "training"
    for name in ("velodyne", "label_2", "calib"):
        (training / name).mkdir(parents=True)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("000000\n000001\n000002\n")
    (tmp_path / "image_sizes.csv").write_text(
        "frame,width,height\n" + "".join(f"00000{i},1200,360\n" for i in range(3))
    )
    ahead = np.array([[20, 0, -1, 0.5], [-20, 0, -1, 0.5], [5, 30, 0, 0.1]], np.float32)
    for i, (points, label) in enumerate(
        [(ahead, CAR + DONT_CARE), (ahead, ""), (np.empty((0, 4), np.float32), DONT_CARE)]
    ):
        (training / "velodyne" / f"00000{i}.bin").write_bytes(points.tobytes())
        (training / "label_2" / f"00000{i}.txt").write_text(label)
        write_calibration(training / "calib" / f"00000{i}.txt", CAMERA)
    return tmp_path


def test_boxes_are_in_lidar_coordinates(folder):
    frame = KittiDataset(folder, "train").frame("000000")
    # 20 m ahead, 1.7 m below the camera, along the viewing direction (rotation_y = -pi / 2).
    np.testing.assert_allclose(frame.boxes, [[20, 0, -1.7, 4, 1.6, 1.5, 0]], atol=1e-3)
    assert frame.boxes.dtype == np.float32
    assert frame.names.tolist() == ["Car"]
    assert frame.labels.name.tolist() == ["Car", "DontCare"]
    assert frame.image_size == SIZE


def test_yaw_grows_from_x_to_y(folder):
    label = folder / "training" / "label_2" / "000000.txt"
    label.write_text(CAR.replace(" -1.57\n", " -2.3562\n"))  # -3 pi / 4
    frame = KittiDataset(folder, "train").frame(0)
    # KITTI: the direction of a car is (cos, 0, -sin) in the camera frame: x = -0.7, z = 0.7, which
    # is half left ahead.
    assert frame.boxes[0, 6] == pytest.approx(np.pi / 4, abs=1e-4)


def test_full_scans_are_cropped_and_reduced_scans_preferred(folder):
    assert KittiDataset(folder, "train").frame(0).points.tolist() == [[20, 0, -1, 0.5]]
    reduced = folder / "training" / "velodyne_reduced"
    reduced.mkdir()
    points = np.array([[9, 1, 0, 0.25]], np.float32)
    (reduced / "000000.bin").write_bytes(points.tobytes())
    dataset = KittiDataset(folder, "train")
    assert dataset.frame(0).points.tolist() == points.tolist()
    assert len(dataset.frame(1).points) == 1  # not prepared: cropped on reading


def test_frames_without_points_or_objects_are_legal(folder):
    dataset = KittiDataset(folder, "train")
    assert dataset.frame(1).boxes.shape == (0, 7)
    assert dataset.frame(2).points.shape == (0, 4)
    assert dataset.frame(2).points.dtype == np.float32


def test_image_size_comes_from_the_image_first(folder):
    images = folder / "training" / "image_2"
    images.mkdir()
    Image.new("L", (320, 180)).save(images / "000001.jpg")
    assert KittiDataset(folder, "train").frame(1).image_size == (320, 180)
    Image.new("L", (640, 360)).save(images / "000000.png")
    assert KittiDataset(folder, "train").frame(0).image_size == (640, 360)
    (images / "000000.png").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"000000\.png: not an image"):
        KittiDataset(folder, "train").frame(0)


def test_unknown_camera_without_size_is_an_error(folder):
    (folder / "image_sizes.csv").unlink()
    with pytest.raises(DataError, match=r"000000.*image_sizes\.csv"):
        KittiDataset(folder, "train").frame(0)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("velodyne/000000.bin", b"\0" * 35, r"000000\.bin: 35 bytes.*truncated"),
        ("velodyne/000000.bin", np.float32([1, 2, 3, 200]).tobytes(), r"200, not 0 to 1; divide"),
        ("label_2/000000.txt", CAR.encode() + b"Car 0 0 0 1 2\n", r"000000\.txt:2: "),
        ("calib/000000.txt", b"P2: 1 2 3\n", r"000000\.txt:1: P2 has 3 numbers; write 12"),
        (
            "calib/000000.txt",
            b"P2: 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n",
            "P2 has 16 numbers; write 12, row by row: the 3 x 4 of its upper left, if it is a 4",
        ),
        (
            "calib/000000.txt",
            b"P2: 1 0 0 0 0 1 0 0 0 0 1 nan\n",
            "P2 has a number that is not finite",
        ),
        ("calib/000000.txt", b"x\nP2: 1 2 a\n", r"000000\.txt:2: P2: .*'a'"),
        ("calib/000000.txt", b"R0_rect: 1 0 0 0 1 0 0 0 1\n", r"000000\.txt: row P2 is missing"),
        (
            "calib/000000.txt",
            b"P2: 1 2 3 4 5 6 7 8 9 10 11 12\nP2: 0 2 3 4 5 6 7 8 9 10 11 12\n",
            r"000000\.txt:2: another row P2",
        ),
        ("calib/000000.txt", b"R0_rect: 1 1 1 0 1 0 0 0 1\n", r"\.txt:1: R0_rect .*not a rotation"),
    ],
)
def test_broken_files_are_named(folder, path, content, message):
    (folder / "training" / path).write_bytes(content)
    with pytest.raises(DataError, match=message):
        KittiDataset(folder, "train").frame("000000")


@pytest.mark.parametrize("path", ["velodyne/000001.bin", "label_2/000001.txt", "calib/000001.txt"])
def test_ids_without_files_are_found_at_once(folder, path):
    (folder / "training" / path).unlink()
    with pytest.raises(DataError, match=f"{path}: no such file"):
        KittiDataset(folder, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"train\.txt: the list is empty"),
        ("000000\n\n000000\n", r"train\.txt:3: 000000 is already on line 1"),
        ("../secret\n", r"train\.txt:1: '\.\./secret' is not a frame id"),
        ("000000.bin\n", r"train\.txt:1: '000000\.bin' names a file; write ids without \.bin"),
    ],
)
def test_bad_lists(folder, content, message):
    (folder / "ImageSets" / "train.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        KittiDataset(folder, "train")


def test_unknown_split_and_empty_folder(folder, tmp_path_factory):
    with pytest.raises(DataError, match=r"val\.txt: no such split; the folder has train"):
        KittiDataset(folder, "val")
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match="training: no frames; give the root"):
        KittiDataset(empty, "train")


def test_ids_may_be_time_stamps(folder):
    for file in list((folder / "training").rglob("000000.*")):
        file.rename(file.with_name("1616535.9200" + file.suffix))
    (folder / "ImageSets" / "train.txt").write_text("1616535.9200\r\n")
    (folder / "image_sizes.csv").write_text("frame,width,height\n1616535.9200,1200,360\n")
    assert KittiDataset(folder, "train").frame(0).image_size == SIZE


def test_frames_that_are_not_kittis_need_lists(folder):
    shutil.rmtree(folder / "ImageSets")
    with pytest.raises(DataError, match="the frames are not KITTI's.*one frame per line, such as"):
        KittiDataset(folder, "train")


def test_kitti_without_lists_has_its_standard_split(kitti_root, tmp_path):
    (tmp_path / "training").symlink_to(kitti_root / "training")
    for split in ("train", "val"):
        dataset = KittiDataset(tmp_path, split)
        chosen, (told,) = dataset.ids, dataset.notes
        assert sorted(chosen) == sorted(KittiDataset(kitti_root, split).ids)
        full = (kitti_root / "ImageSets" / "full" / f"{split}.txt").read_text().split()
        assert standard_split(split) == full
        assert f"{len(chosen)} of the standard split's {len(full)} {split} frames" in told


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("R_rect {r}\nTr_velo_cam {t}", None),
        ("R0_rect : {r}\nTr_velo_to_cam : {t}", None),
        ("R0_rect: {r}\nTr_velo_to_cam: {t}\nTr_velo_to_cam: {t}", None),
        ("R0_rect: {r}\nTr_velo_to_cam_0: {t}", "there is Tr_velo_to_cam_0: several cameras"),
        ("R0_rect: {r}\nTr_lidar: {t}", "the file has P2, R0_rect, Tr_lidar"),
    ],
)
def test_rows_of_other_calibrations(folder, rows, message):
    path = folder / "training" / "calib" / "000000.txt"
    r, t = (" ".join(map(str, m.ravel())) for m in (CAMERA.r0_rect, CAMERA.tr_velo_to_cam))
    p2 = " ".join(map(str, CAMERA.p2.ravel()))
    path.write_text(f"P2: {p2}\n" + rows.format(r=r, t=t))
    if message:
        with pytest.raises(DataError, match=message):
            read_calibration(path)
    else:
        np.testing.assert_array_equal(read_calibration(path).lidar_to_image, CAMERA.lidar_to_image)


def test_bad_size_table_names_the_line(folder):
    (folder / "image_sizes.csv").write_text("frame,width,height\n000000,1200\n")
    with pytest.raises(DataError, match=r"image_sizes\.csv:2: '000000,1200'"):
        KittiDataset(folder, "train").frame(0)


def test_fingerprint_follows_what_determines_results(folder):
    before = KittiDataset(folder, "train").fingerprint()
    copy = shutil.copytree(folder, folder.parent / "elsewhere")
    assert KittiDataset(copy, "train").fingerprint() == before
    label = folder / "training" / "label_2" / "000000.txt"
    for path, content in [
        (label, CAR.replace("20.00", "20.01")),
        (folder / "ImageSets" / "train.txt", "000001\n000000\n000002\n"),
        (folder / "image_sizes.csv", (folder / "image_sizes.csv").read_text().replace("60", "61")),
    ]:
        path.write_text(content)
        after = KittiDataset(folder, "train").fingerprint()
        assert after != before
        before = after


def test_calibration_survives_writing(tmp_path):
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    written = Calibration(rng.normal(size=(3, 4)), rotation, np.column_stack([rotation, [1, 2, 3]]))
    write_calibration(tmp_path / "calib.txt", written)
    read = read_calibration(tmp_path / "calib.txt")
    for name in ("p2", "r0_rect", "tr_velo_to_cam"):
        np.testing.assert_allclose(getattr(read, name), getattr(written, name), atol=1e-11)


def test_detections_are_projected_clipped_and_dropped():
    boxes = np.array(
        [
            [20, 0, -1.7, 4, 1.6, 1.5, 0],  # in the middle
            [10, 8, -1.7, 4, 2.0, 1.5, 0],  # cut by the left edge
            [-20, 0, -1.7, 4, 1.6, 1.5, 0],  # behind the camera
            [20, 40, -1.7, 4, 1.6, 1.5, 0],  # left of the image
            [1, 0, -1.7, 4, 1.6, 1.5, 0],  # around the camera
        ]
    )
    scores = np.arange(5) / 10
    labels = to_labels(boxes, ["Car"] * 5, scores, CAMERA, SIZE)
    assert labels.score.tolist() == [0.0, 0.1, 0.4]
    # By hand: the rear is 18 m ahead, 0.8 m to either side, 0.2 to 1.7 m below the camera; the
    # roof's far edge is 22 m ahead.
    left, right = 600 - 700 * 0.8 / 18, 600 + 700 * 0.8 / 18
    top, bottom = 180 + 700 * 0.2 / 22, 180 + 700 * 1.7 / 18
    np.testing.assert_allclose(labels.bbox[0], [left, top, right, bottom])
    assert labels.bbox[1, 0] == 0
    assert labels.bbox[1, 2] == pytest.approx(600 - 700 * 7 / 12)
    np.testing.assert_allclose(labels.bbox[2], [0, 180 + 700 * 0.2 / 3, 1199, 359])
    # alpha is the rotation seen from the camera: 0 means the object's side, facing right.
    assert labels.alpha[0] == pytest.approx(-np.pi / 2)
    assert labels.alpha[1] == pytest.approx(-np.pi / 2 + np.arctan2(8, 10))


def test_detections_may_be_none_but_not_nan():
    nothing = to_labels(np.empty((0, 7)), [], np.empty(0), CAMERA, SIZE)
    assert len(nothing) == 0
    assert nothing.score is not None
    with pytest.raises(ValueError, match="diverged"):
        to_labels(np.full((1, 7), np.nan), ["Car"], np.ones(1), CAMERA, SIZE)


def test_conversion_agrees_with_mmdet3d():
    operators.install()
    from mmdet3d.structures import Box3DMode, CameraInstance3DBoxes, LiDARInstance3DBoxes

    from benchmark.data.synthetic.generator import calibration

    camera, rng = calibration(), np.random.default_rng(0)
    boxes = np.column_stack(
        [
            rng.uniform(10, 60, 50),
            rng.uniform(-8, 8, 50),
            rng.uniform(-2, 0, 50),
            rng.uniform(1, 4, (50, 3)),
            rng.uniform(-3, 3, 50),
        ]
    ).astype(np.float32)
    labels = to_labels(boxes, ["Car"] * 50, np.ones(50), camera, (1242, 375))
    assert len(labels) == 50
    theirs = LiDARInstance3DBoxes(boxes).convert_to(Box3DMode.CAM, camera.lidar_to_camera)
    assert isinstance(theirs, CameraInstance3DBoxes)
    # CameraInstance3DBoxes: x, y, z, length, height, width, rotation_y.
    ours = np.column_stack([labels.location, labels.dimensions[:, [2, 0, 1]]])
    np.testing.assert_allclose(ours, theirs.tensor[:, :6].numpy(), atol=1e-4)
    turn = labels.rotation_y - theirs.tensor[:, 6].numpy()
    np.testing.assert_allclose(np.exp(1j * turn), 1, atol=1e-5)
    corners = theirs.corners.numpy().reshape(-1, 3)
    pixels = camera.project_camera(corners)[:, :2].reshape(50, 8, 2)
    box = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    np.testing.assert_allclose(labels.bbox, np.clip(box, 0, [1241, 374, 1241, 374]), atol=1e-2)


# The real frames


def test_full_scans_are_cropped_to_the_byte(kitti_root):
    frames = [KittiDataset(kitti_root, split) for split in ("train", "val")]
    cropped = 0
    for dataset in frames:
        for frame_id in dataset.ids:
            full = kitti_root / "training" / "velodyne" / f"{frame_id}.bin"
            if full.exists():
                frame = dataset.frame(frame_id)
                points = np.fromfile(full, np.float32).reshape(-1, 4)
                ours = crop_to_image(points, frame.calibration, frame.image_size)
                assert len(ours) < len(points) / 4
                assert ours.tobytes() == frame.points.tobytes()
                cropped += 1
    assert cropped == 6


def test_labelled_objects_hold_points(kitti_root):
    with (kitti_root / "frames.csv").open() as file:
        expected = {row["frame"]: row for row in csv.DictReader(file)}
    total = 0
    for split in ("train", "val"):
        dataset = KittiDataset(kitti_root, split)
        for frame_id in dataset.ids:
            frame, row = dataset.frame(frame_id), expected[frame_id]
            assert len(frame.points) == int(row["n_points_reduced"])
            assert len(frame.boxes) == int(row["objects"])
            # One far car's only point lies within a centimetre of its box's edge, where the tilt
            # between LiDAR and camera decides.
            filled = _objects_with_points(frame)
            assert 0 <= int(row["objects_with_points"]) - filled <= (frame_id == "001681")
            total += filled
    assert total == sum(int(row["objects_with_points"]) for row in expected.values()) - 1


def test_detections_invert_the_reader_on_real_frames(kitti_root):
    dataset = KittiDataset(kitti_root, "val")
    for frame_id in dataset.ids:
        frame = dataset.frame(frame_id)
        truth = frame.labels.select(frame.labels.name != "DontCare")
        ours = to_labels(
            frame.boxes, frame.names, np.ones(len(truth)), frame.calibration, frame.image_size
        )
        assert ours.name.tolist() == truth.name.tolist()
        np.testing.assert_allclose(ours.dimensions, truth.dimensions, atol=1e-6)
        np.testing.assert_allclose(ours.location, truth.location, atol=1e-4)
        turn = ours.rotation_y - truth.rotation_y
        np.testing.assert_allclose(np.exp(1j * turn), 1, atol=1e-6)


def test_image_sizes_follow_from_the_camera(kitti_root, tmp_path):
    bare = tmp_path / "kitti"
    bare.mkdir()
    for name in ("ImageSets", "training"):
        (bare / name).symlink_to(kitti_root / name)
    with (kitti_root / "image_sizes.csv").open() as file:
        sizes = {
            row["frame"]: (int(row["width"]), int(row["height"])) for row in csv.DictReader(file)
        }
    found = set()
    for split in ("train", "val"):
        dataset = KittiDataset(bare, split)
        for frame_id in dataset.ids:
            size = dataset.frame(frame_id).image_size
            assert size == sizes[frame_id]
            found.add(size)
    assert found == set(sizes.values())


def _objects_with_points(frame):
    """How many boxes hold a point, written without the project's geometry."""
    count = 0
    for x, y, z, length, width, height, yaw in frame.boxes.astype(np.float64):
        offset = (frame.points[:, 0] - x) + 1j * (frame.points[:, 1] - y)
        local = offset * np.exp(-1j * yaw)
        above = frame.points[:, 2] - z
        inside = (np.abs(local.real) <= length / 2) & (np.abs(local.imag) <= width / 2)
        count += bool((inside & (above >= 0) & (above <= height)).any())
    return count
