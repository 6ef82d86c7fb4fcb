"""The node: parameters, topics, services and states of ROS 2 around `actions.Actions`.

ros2 launch maclip_ros actions.launch.py bundle:=/path/to/bundle image:=/camera/image_raw
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from maclip_msgs.msg import ActionEvent
from maclip_msgs.srv import Enroll, ListActions, Remove
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo

from maclip_ros.actions import Actions
from maclip_runtime import Event, MaclipError

PARAMETERS: dict[str, Any] = {
    "bundle": "",
    "gallery": "robot.db",
    "device": "auto",
    "compressed": False,
    "reliability": "best_effort",
    "depth": 1,
    "window_seconds": 0.0,
    "enroll_seconds": 3.0,
    "keep_seconds": 10.0,
    "autostart": True,
}
RELIABILITY = {"best_effort": QoSReliabilityPolicy.BEST_EFFORT, "reliable": QoSReliabilityPolicy.RELIABLE}
KINDS = {"start": ActionEvent.START, "update": ActionEvent.UPDATE, "end": ActionEvent.END}
SECONDS_BETWEEN_COMPLAINTS = 5.0
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class ActionsNode(LifecycleNode):
    """Loads the model when it is configured, and subscribes to the images when it is activated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("actions", **kwargs)
        for name, default in PARAMETERS.items():
            self.declare_parameter(name, default)
        self._actions: Actions | None = None
        self._subscription: Any = None
        self._entities: list[tuple[Callable[[Any], object], Any]] = []  # how to destroy each
        self._header: Any = None  # of the newest image
        self._changes = 0

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model; create publishers and services."""
        try:
            if self._value("reliability") not in RELIABILITY:
                raise MaclipError("option-invalid", "reliability is no such policy.", "Use best_effort or reliable.")
            self._actions = Actions(
                self._value("bundle"),
                self._value("gallery"),
                device=self._value("device"),
                window_s=self._value("window_seconds") or None,
                keep_s=self._value("keep_seconds"),
            )
        except MaclipError as error:
            self.get_logger().error(f"{error.code}: {error.message} {error.fix}")
            return TransitionCallbackReturn.FAILURE
        self._classification = self._publisher(Classification, "~/classification", 10)
        self._event = self._publisher(ActionEvent, "~/events", 10)
        self._info = self._publisher(VisionInfo, "~/vision_info", LATCHED)
        self._service(Enroll, "~/enroll", self._on_enroll)
        self._service(Remove, "~/remove", self._on_remove)
        self._service(ListActions, "~/list", self._on_list)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images."""
        done = super().on_activate(state)  # publishers may publish from here on
        self._say_what_is_known()
        quality = QoSProfile(depth=self._value("depth"), reliability=RELIABILITY[self._value("reliability")])
        kind = CompressedImage if self._value("compressed") else Image
        self._subscription = self.create_subscription(kind, "image", self._on_image, quality)
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and say that what was open is over."""
        self.destroy_subscription(self._subscription)
        self._subscription = None
        if self._actions is not None:
            self._publish(self._actions.pause(), self._header)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whatever state."""
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        self._release()
        return super().on_shutdown(state)

    def _on_image(self, message: Any) -> None:
        assert self._actions is not None
        self._header = message.header
        try:
            self._publish(self._actions.add(message), message.header)
        except MaclipError as error:
            self.get_logger().error(
                f"{error.code}: {error.message} {error.fix}", throttle_duration_sec=SECONDS_BETWEEN_COMPLAINTS
            )

    def _publish(self, events: list[Event], header: Any) -> None:
        assert self._actions is not None
        for event in events:
            said = ActionEvent(
                header=header,
                id=event.id,
                kind=KINDS[event.kind],
                label=event.label,
                reason=event.reason,
                score=float(event.score),
                match=float(event.match),
                started=self._time(event.start_s),
                ended=self._time(event.end_s),
                withdrawn=event.withdrawn,
            )
            self._event.publish(said)
            if event.kind != "end" and not event.withdrawn:
                hypothesis = ObjectHypothesis(class_id=event.label, score=float(event.score))
                self._classification.publish(Classification(header=header, results=[hypothesis]))

    def _on_enroll(self, request: Any, response: Any) -> Any:
        assert self._actions is not None
        seconds = request.seconds or self._value("enroll_seconds")
        try:
            done = self._actions.enroll(request.name, seconds, without_text=request.without_text, force=request.force)
        except MaclipError as error:
            return _failed(response, error)
        self._changes += 1
        self._say_what_is_known()
        response.success, response.clips = True, done.clips
        response.message = " ".join([f"Enrolled {done.name!r}.", *done.notes])
        return response

    def _on_remove(self, request: Any, response: Any) -> Any:
        assert self._actions is not None
        try:
            gone = self._actions.remove(request.name)
        except MaclipError as error:
            return _failed(response, error)
        self._changes += 1
        self._say_what_is_known()
        response.success, response.message = True, f"Removed {gone} clips."
        return response

    def _on_list(self, request: Any, response: Any) -> Any:
        assert self._actions is not None
        known = self._actions.known()
        response.names, response.clips = list(known), list(known.values())
        return response

    def _say_what_is_known(self) -> None:
        """`database_version` rises with each change of the gallery, as vision_msgs asks."""
        info = VisionInfo(method="maclip", database_location=self._value("gallery"), database_version=self._changes)
        info.header.stamp = self.get_clock().now().to_msg()
        self._info.publish(info)

    def _publisher(self, kind: Any, topic: str, quality: Any) -> Any:
        made = self.create_lifecycle_publisher(kind, topic, quality)
        self._entities.append((self.destroy_lifecycle_publisher, made))
        return made

    def _service(self, kind: Any, name: str, answer: Callable[[Any, Any], Any]) -> None:
        self._entities.append((self.destroy_service, self.create_service(kind, name, answer)))

    def _release(self) -> None:
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()
        if self._actions is not None:
            self._actions.close()
            self._actions = None

    def _time(self, time_s: float) -> Time:
        assert self._actions is not None
        sec, nanosec = self._actions.stamp(time_s)
        return Time(sec=sec, nanosec=nanosec)

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value


def _failed(response: Any, error: MaclipError) -> Any:
    response.success, response.code, response.message = False, error.code, f"{error.message} {error.fix}"
    return response


def main(args: list[str] | None = None) -> None:
    """Run the node; with `autostart` it becomes active by itself."""
    rclpy.init(args=args)
    node = ActionsNode()
    try:
        autostart = node.get_parameter("autostart").value
        if autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
