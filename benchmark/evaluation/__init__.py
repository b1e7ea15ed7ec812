"""From networks and result files to AP: detection, KITTI's AP, intervals, views."""
