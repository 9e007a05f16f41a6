"""The words and sentences that instructions and their taught answers are made of."""
# ruff: noqa: SIM905 - a long list of words reads better as one string

import random

TOPICS = (
    "the sea; a cat; winter; music; a train; the moon; bread; a garden; rain; football; a castle; coffee; the "
    "forest; a teacher; snow; a robot; the desert; a bicycle; summer; an old house; the city; a river; chess; "
    "a farm; the sky; a birthday; soup; a library; the wind; a dog; mountains; a holiday; the night; a "
    "painter; tea; a ship; spring; a horse; the market; a clock"
).split("; ")
HELD_OUT_TOPICS = TOPICS[::4]
TRAINING_TOPICS = [topic for topic in TOPICS if topic not in HELD_OUT_TOPICS]
SENTENCES = (
    "I like to think about {t} every day", "There is something special about {t}", "Many people enjoy {t} with friends",
    "My family often talks about {t}", "We learned a lot about {t}", "She wrote a short story about {t}",
    "He told me about {t} last week", "Nothing makes me smile like {t}", "Children love to hear about {t}",
    "It is easy to enjoy {t}", "The best part of the day is {t}", "I saw a nice picture of {t}",
)  # fmt: skip
# sentences by the number of their words beside the topic
BY_LENGTH = {
    1: ("Enjoy {t}", "Imagine {t}"),
    2: ("I like {t}", "We remember {t}"),
    3: ("Everyone here loves {t}", "I often picture {t}"),
    4: ("I like {t} very much", "We will always remember {t}"),
    5: ("My friends talk about {t} often", "People tell stories of {t} here"),
    6: ("We all like {t} on quiet days", "I still dream about {t} at night"),
    7: ("I always smile when I think of {t}", "Nobody I know gets tired of {t} quickly"),
    8: ("My family likes to talk about {t} at dinner", "There are so many good stories told about {t}"),
    9: ("Every single day I want to see {t} once again", "We sat down together and wrote a poem about {t}"),
}
KEYWORDS = "bright quiet happy small golden slow gentle warm simple strange early brave soft busy clever calm".split()
THINGS = "color sound place friend story smell season memory name price shape mood".split()
STARTS = "Today Maybe Surely Often Indeed Somehow Yesterday Honestly Clearly Usually Perhaps Finally".split()
ENDINGS = (
    "That is all.",
    "The end.",
    "I am sure.",
    "Thank you.",
    "What a day!",
    "Is it not?",
    "Good luck!",
    "So it goes.",
)
MARKERS = ("-", "*", "+", "#", ">", "=")


def sentence(topic: str, rng: random.Random) -> str:
    """Write a sentence, without its full stop."""
    return rng.choice(SENTENCES).format(t=topic)


def sentence_of_length(topic: str, count: int, rng: random.Random) -> str:
    """Write a sentence of exactly `count` words."""
    text = rng.choice(BY_LENGTH[count - len(topic.split())]).format(t=topic)
    return f"{text[0].upper()}{text[1:]}."


def sentence_after_opening(topic: str, rng: random.Random) -> str:
    """Write a sentence that goes on after an opening word."""
    text = sentence(topic, rng)
    return text if text.startswith("I ") else text[0].lower() + text[1:]
