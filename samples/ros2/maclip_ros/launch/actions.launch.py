"""ros2 launch maclip_ros actions.launch.py bundle:=/path/to/bundle image:=/camera/image_raw"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "bundle": ("", str, "The folder that maclip export wrote."),
    "gallery": ("robot.db", str, "The file of what was enrolled; made where it is missing."),
    "compressed": ("false", bool, "Whether the topic carries CompressedImage."),
    "reliability": ("best_effort", str, "best_effort or reliable."),
}


def generate_launch_description() -> LaunchDescription:
    node = LifecycleNode(
        package="maclip_ros",
        executable="actions",
        name="actions",
        namespace="",
        output="screen",
        parameters=[
            PathJoinSubstitution([FindPackageShare("maclip_ros"), "config", "actions.yaml"]),
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, (_, kind, _) in ARGUMENTS.items()
            },
        ],
        remappings=[("image", LaunchConfiguration("image"))],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=said)
        for name, (default, _, said) in ARGUMENTS.items()
    ]
    topic = DeclareLaunchArgument("image", default_value="/camera/image_raw", description="The topic of the images.")
    return LaunchDescription([*declared, topic, node])
