"""CenterPoint (Yin et al., CVPR 2021) on SECOND's own grid, sparse encoder, backbone and neck.

The head is that of mmdet3d's nuScenes configs, with one task for KITTI's classes and no velocity.
"""

_base_ = "mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py"

model = dict(
    bbox_head=dict(
        _delete_=True,
        type="CenterHead",
        in_channels=512,
        tasks=[dict(num_class=3, class_names=["Pedestrian", "Cyclist", "Car"])],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2)),
        share_conv_channel=64,
        bbox_coder=dict(
            type="CenterPointBBoxCoder",
            pc_range=[0, -40],
            post_center_range=[-10, -50, -13, 80.4, 50, 11],
            max_num=500,
            score_threshold=0.1,
            out_size_factor=8,
            voxel_size=[0.05, 0.05],
            code_size=7,
        ),
        separate_head=dict(type="SeparateHead", head_conv=64, init_bias=-2.19, final_kernel=3),
        loss_cls=dict(type="mmdet.GaussianFocalLoss", reduction="mean"),
        loss_bbox=dict(type="mmdet.L1Loss", reduction="mean", loss_weight=0.25),
        norm_bbox=True,
    ),
    train_cfg=dict(
        _delete_=True,
        grid_size=[1408, 1600, 40],
        point_cloud_range=[0, -40, -3, 70.4, 40, 1],
        voxel_size=[0.05, 0.05, 0.1],
        out_size_factor=8,
        dense_reg=1,
        gaussian_overlap=0.1,
        max_objs=500,
        min_radius=2,
        code_weights=[1.0] * 8,
    ),
    test_cfg=dict(
        _delete_=True,
        post_center_limit_range=[-10, -50, -13, 80.4, 50, 11],
        max_per_img=500,
        max_pool_nms=False,
        min_radius=[1],
        score_threshold=0.1,
        pc_range=[0, -40],
        out_size_factor=8,
        voxel_size=[0.05, 0.05],
        nms_type="rotate",
        pre_max_size=1000,
        post_max_size=83,
        nms_thr=0.2,
    ),
)
