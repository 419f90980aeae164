"""The vocabulary of the generated text."""

GIRLS = "Mia Anna Lily Zoe Ella Nora Ruby Clara Ivy Rosa".split()
BOYS = "Tom Ben Max Sam Leo Finn Jack Omar Hugo Paul".split()
ADJECTIVES = "little kind clever brave shy cheerful curious quiet".split()
COLORS = "red blue green yellow white brown orange purple".split()
TOYS = "ball kite drum boat book doll puzzle bell hat scarf lamp umbrella".split()
FOODS = "apple pear cake cookie sandwich carrot orange egg pie bun".split()
CAKES = "cake cookie pie bun muffin".split()
PETS = "dog cat rabbit mouse duck frog owl hen".split()
PLACES = "park garden forest farm market beach school library".split()
HIDING = ["under a bush", "behind a tree", "in a box", "under a bench", "on a roof", "by a well"]
WEATHER = ["sunny", "rainy", "windy", "cold", "warm", "cloudy"]
FEELINGS = ["sad", "worried", "lonely", "tired"]
JOBS = "baker teacher farmer doctor painter singer sailor gardener".split()
CITIES = ["Oakville", "Riverton", "Hillside", "Lakewood", "Stoneford", "Greenfield", "Sunnydale"]
HOBBIES = "reading painting swimming singing dancing cooking fishing chess running drawing".split()
MATERIALS = "wood glass metal paper cloth stone".split()
KINDS_OF_PLACES = "park library museum school market beach farm garden".split()

SOUNDS = {
    "dog": "woof",
    "cat": "meow",
    "cow": "moo",
    "duck": "quack",
    "sheep": "baa",
    "pig": "oink",
    "horse": "neigh",
    "lion": "roar",
    "owl": "hoot",
    "bee": "buzz",
    "frog": "croak",
    "mouse": "squeak",
}
COLOR_OF = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "a lemon": "yellow",
    "a tomato": "red",
    "coal": "black",
    "a carrot": "orange",
    "chocolate": "brown",
    "milk": "white",
    "a banana": "yellow",
    "a strawberry": "red",
    "a frog": "green",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "up": "down",
    "day": "night",
    "happy": "sad",
    "old": "young",
    "wet": "dry",
    "open": "closed",
    "full": "empty",
    "long": "short",
    "light": "dark",
}
LEGS = {"dog": "four", "cat": "four", "bird": "two", "spider": "eight", "ant": "six", "snake": "no"}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

LISTS = {
    "animals that live on a farm": ["cow", "pig", "hen", "sheep", "horse", "duck", "goat"],
    "animals that live in the forest": ["fox", "owl", "bear", "deer", "wolf", "rabbit", "squirrel"],
    "things to eat": FOODS,
    "toys": TOYS,
    "colours": COLORS,
    "things in a kitchen": ["spoon", "pan", "cup", "plate", "knife", "bowl", "oven"],
    "things in a school": ["desk", "book", "pencil", "map", "clock", "chair", "teacher"],
    "jobs": JOBS,
    "things to do on a rainy day": HOBBIES,
}
NUMBERS = {3: "three", 4: "four", 5: "five"}


def a(noun: str) -> str:
    """Return a noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
