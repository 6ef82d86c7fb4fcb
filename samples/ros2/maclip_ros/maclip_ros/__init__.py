"""Action recognition with maclip as a node of ROS 2. `actions` needs no ROS; `node` connects it to rclpy."""
