"""One natural phrase for each motion, which is also the name of its class."""

from __future__ import annotations

# key -> phrase. `{shape}` is "a shape" in the motion family and "a red star" in the object-motion family.
MOTION_PHRASES: dict[str, str] = {
    "right": "moving {shape} from left to right",
    "left": "moving {shape} from right to left",
    "up": "moving {shape} up",
    "down": "moving {shape} down",
    "up-right": "moving {shape} to the top right",
    "up-left": "moving {shape} to the top left",
    "down-right": "moving {shape} to the bottom right",
    "down-left": "moving {shape} to the bottom left",
    "right-back": "moving {shape} right and back",
    "left-back": "moving {shape} left and back",
    "up-back": "moving {shape} up and back",
    "down-back": "moving {shape} down and back",
    "right-then-up": "moving {shape} right then up",
    "right-then-down": "moving {shape} right then down",
    "left-then-up": "moving {shape} left then up",
    "left-then-down": "moving {shape} left then down",
    "up-then-right": "moving {shape} up then right",
    "up-then-left": "moving {shape} up then left",
    "down-then-right": "moving {shape} down then right",
    "down-then-left": "moving {shape} down then left",
    "zigzag": "{shape} moving in a zigzag",
    "clockwise": "{shape} circling clockwise",
    "counterclockwise": "{shape} circling counterclockwise",
    "spin-clockwise": "{shape} spinning clockwise",
    "spin-counterclockwise": "{shape} spinning counterclockwise",
    "grow": "{shape} growing",
    "shrink": "{shape} shrinking",
    "grow-shrink": "{shape} growing then shrinking",
    "shrink-grow": "{shape} shrinking then growing",
    "appear": "{shape} appearing",
    "vanish": "{shape} vanishing",
    "blink": "{shape} blinking",
    "shake": "{shape} shaking from side to side",
    "bounce": "{shape} bouncing up and down",
    "swing": "{shape} swinging like a pendulum",
    "throw": "throwing {shape} in an arc",
    "still": "{shape} standing still",
    "recolour": "{shape} changing its color",
    "pass-across": "two shapes passing each other",
    "pass-along": "two shapes passing each other up and down",
    "approach": "two shapes coming together",
    "part": "two shapes moving apart",
    "collide": "two shapes colliding and bouncing back",
    "swap": "two shapes swapping places",
    "orbit": "one shape circling another",
    "chase": "one shape chasing another",
    "push": "one shape pushing another",
    "cover": "covering a shape with another",
    "uncover": "uncovering a shape",
    "split": "a shape splitting in two",
    "merge": "two shapes merging into one",
    "together-up": "two shapes moving up together",
    "together-down": "two shapes moving down together",
    "together-across": "two shapes moving together from left to right",
    "jump-over": "one shape jumping over another",
    "exchange-size": "one shape growing while another shrinks",
    "add": "putting a shape next to another",
    "remove": "taking away one of two shapes",
    "zoom-in": "zooming in on a shape",
    "zoom-out": "zooming out from a shape",
}

# Words that users of the demo may type. Each is one token, though pre-training never sees it.
_EXTRA_WORDS = """
action arm back ball bag book bottle box camera car carry catch catching chair clapping climb climbing close closing cup
cut cutting dance dancing door drink drinking drop dropping eat eating empty enter face falling fast fill filling finger
floor fold folding full get getting give giving hand hands head hide hiding hit hitting hold holding inside jump kick
kicking leave lift lifting light look looking lying make making man nothing object off on open opening out outside over
paper person pick picking play playing pointing pour pouring pretending pull pulling push put reach reaching remove
removing ride riding robot roll rolling run running show showing sit sitting slide sliding slow something stack stand
stop stopping swim swimming swing table take taking tear throw tilting touch touching turn turning twisting under
wait waiting walk walking wave waving while wipe with without woman work write writing doing happening video of
someone no yes not is are was be by for in into it this that these his her their slowly quickly suddenly again around
through across toward towards away behind front beside between near far first second then until after before during
"""


def plain_phrases() -> tuple[str, ...]:
    """Every motion's phrase about "a shape"."""
    return tuple(phrase.format(shape="a shape") for phrase in MOTION_PHRASES.values())


def words() -> tuple[str, ...]:
    """The words of all phrases and other words common in names of actions, sorted."""
    said = {word for phrase in plain_phrases() for word in phrase.split()}
    return tuple(sorted(said | set(_EXTRA_WORDS.split())))
