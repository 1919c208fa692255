"""The word banks of the demo's descriptions: one bank per whole level of each of the four text factors.

A bank never shares a telling word with the bank of another level. Names are drawn for every short alike and tell nothing.
"""

from __future__ import annotations

NAMES = (
    "Mira", "Ansel", "Juno", "Tove", "Ilka", "Rafe", "Sunniva", "Osei", "Pilar", "Kenji", "Noor", "Lazlo", "Edda", "Bao",
    "Wren", "Teo", "Yara", "Emeka", "Sorin", "Lotte", "Ravi", "Maud", "Itzel", "Casper", "Dalia", "Finn", "Oona", "Jarek",
)  # fmt: skip

# Who it is about: from child to elder. Each is (what follows the name, what the person is called afterwards).
HEROES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("a nine-year-old who collects keys", "the child"),
        ("a schoolgirl with a paper crown", "the girl"),
        ("a small boy afraid of balloons", "the boy"),
        ("the youngest child in the class", "the child"),
    ),
    (
        ("a dropout who plays the drums", "the drummer"),
        ("a teenager with a broken skateboard", "the teenager"),
        ("a student who sleeps through lectures", "the student"),
        ("a street musician of nineteen", "the teenager"),
    ),
    (
        ("a baker who works nights", "the baker"),
        ("a clockmaker with steady hands", "the clockmaker"),
        ("a tailor down to the last spool of thread", "the tailor"),
        ("a carpenter who hums at work", "the carpenter"),
    ),
    (
        ("a police inspector near burnout", "the inspector"),
        ("a retired boxer turned bodyguard", "the bodyguard"),
        ("an army nurse on leave", "the nurse"),
        ("a customs officer with a spotless record", "the officer"),
    ),
    (
        ("a botanist who talks to no one", "the botanist"),
        ("an astronomer with failing eyes", "the astronomer"),
        ("a professor of dead languages", "the professor"),
        ("a chemist on her last grant", "the chemist"),
    ),
    (
        ("a widow of eighty-one", "the widow"),
        ("a grandfather who forgets names", "the old man"),
        ("a great-aunt with a walking stick", "the old woman"),
        ("the oldest pensioner on the street", "the pensioner"),
    ),
)

# Where it plays: from open water to outer space. SETTINGS completes a sentence, PLACES stands in one of its own.
SETTINGS: tuple[tuple[str, ...], ...] = (
    (
        "aboard a rusting trawler",
        "on a sailboat without wind",
        "below the deck of a cargo ship",
        "on a raft far from any coast",
    ),
    ("in a fishing village", "on a pebble beach", "at the foot of a lighthouse", "in a harbour town out of season"),
    ("in a pine forest", "at the edge of the woods", "in a cabin among birches", "under the oldest oak in the valley"),
    (
        "in a snowed-in mountain hut",
        "on a glacier",
        "at a ski lift that no longer runs",
        "on the last pass before the summit",
    ),
    (
        "in a city of neon signs",
        "on the night bus downtown",
        "in a tower block with one working lift",
        "beneath the subway",
    ),
    (
        "on a space station",
        "aboard a shuttle bound for Mars",
        "in a greenhouse on the Moon",
        "on a satellite nobody steers",
    ),
)
PLACES: tuple[tuple[str, ...], ...] = (
    ("Gulls wheel over the swell", "Salt dries on every rope", "The waves never quite let anyone sleep", "The anchor drags all night"),
    ("The tide leaves shells on the doorstep", "Nets hang drying along the pier", "Fog rolls in over the jetty", "Sand gets into every shoe"),
    ("Moss grows over the path", "An owl watches from the branches", "Mushrooms come up overnight", "The trees creak like floorboards"),
    ("Snow seals the door", "Avalanches mutter above the ridge", "Ice creeps over the windows", "The air is thin up here and so is patience"),
    ("Sirens pass three streets away", "Taxis hiss through the rain", "Billboards flicker above the crossing", "Every window has someone in it"),
    ("Earth rises blue in the porthole", "The airlock clicks twice", "Stars drift by like dust", "Nothing has weight here except memories"),
)  # fmt: skip

# What happens: from reunion to disaster. PLOTS are predicates, TURNS are sentences around {name} or {who}.
PLOTS: tuple[tuple[str, ...], ...] = (
    ("meets a sister after twenty years", "cooks for a family that stopped speaking", "opens a letter from a lost father", "hosts a reunion nobody wanted"),
    ("falls for a stranger with the same umbrella", "writes love letters for somebody else", "waits for a sweetheart who is always late", "learns to dance for a first date"),
    ("sets out to find a lost melody", "follows a hand-drawn map", "searches for the last honest compass", "goes on a pilgrimage with a borrowed goat"),
    ("looks into a disappearance", "finds a clue in a library book", "questions six witnesses and a parrot", "opens a case that was closed too soon"),
    ("plans to steal a painting", "runs a con on a millionaire", "cracks a safe for all the right reasons", "smuggles a stolen violin past the guards"),
    ("has an hour before the flood", "fights a fire with what is at hand", "counts the hours until rescue comes", "must get everyone out before the roof gives way"),
)  # fmt: skip
TURNS: tuple[tuple[str, ...], ...] = (
    ("Old quarrels sit down at the same table, and {name} pours the tea", "There is one empty chair, and {who} keeps looking at it", "It takes a cousin and a photo album to thaw them", "By dessert {who} has forgiven nearly everyone"),
    ("A first kiss goes wrong and is tried again", "Neither dares to say it first", "Every glance costs {who} another night's sleep", "Somewhere between two bouquets {name} loses heart and finds it again"),
    ("Every road {who} takes forks into two more", "What {name} is seeking turns out to have moved", "A riddle at each bridge, and {who} answers all but one", "The journey is longer than the map admits"),
    ("Each alibi {who} hears is better than the one before", "The fingerprints match nobody", "Only the suspect tells {name} the truth", "Then a second note turns up, in {name}'s own handwriting"),
    ("The getaway car belongs to {name}'s mother", "The vault is the easy part", "Someone in the gang is lying to {who}", "The loot weighs more than {who} had reckoned"),
    ("The alarm has been ringing for a week", "The radio works for eleven seconds, and {name} uses nine", "There are fewer lifejackets than people", "When the power fails, {who} starts to count"),
)  # fmt: skip

# How it is told: from farce to nightmare. Whole sentences.
TONES: tuple[tuple[str, ...], ...] = (
    ("The jokes come fast and the trousers fall faster", "A farce with slamming doors and a very good dog", "Pure slapstick, down to the last banana skin", "You will laugh before the title is over"),
    ("It is told with a smile and a warm hand", "A kind, sunny little film that likes everyone in it", "Gentle from the first frame to the last hug", "The sort of sweetness that never turns sticky"),
    ("It is told plainly, like a diary read aloud", "A quiet film that watches hands more than faces", "It takes its time and lets the silences speak", "Nothing is explained, and nothing needs to be"),
    ("A bittersweet farewell hangs over every scene", "It aches like the last day of summer", "The ending will make you phone somebody you miss", "Tender, rueful and full of goodbyes"),
    ("The film is grim and does not look away", "A bleak tale in which every favour has a price", "It is told in cold blood, and the ending is merciless", "Hard, bitter and without a single hero"),
    ("It turns into a nightmare so slowly that you help it along", "The terror is in what stays behind the curtain", "Watch it with the lights on", "Something in the walls is breathing, and the camera knows"),
)  # fmt: skip

TITLE_NOUNS: tuple[tuple[str, ...], ...] = (
    ("Anchor", "Swell", "Keel", "Mast", "Raft", "Compass Rose"),
    ("Lighthouse", "Tide", "Pier", "Driftwood", "Harbour", "Shell"),
    ("Birch", "Clearing", "Owl", "Thicket", "Fern", "Oak"),
    ("Summit", "Avalanche", "Glacier", "Ridge", "Snowline", "Pass"),
    ("Neon", "Night Bus", "Crossing", "Rooftop", "Elevator", "Avenue"),
    ("Orbit", "Airlock", "Comet", "Moonrise", "Satellite", "Gravity"),
)
TITLE_ADJECTIVES: tuple[tuple[str, ...], ...] = (
    ("Ridiculous", "Slippery", "Upside-Down", "Giddy", "Preposterous"),
    ("Kindly", "Golden", "Warm", "Gentle", "Generous"),
    ("Quiet", "Plain", "Patient", "Unhurried", "Silent"),
    ("Last", "Parting", "Faded", "Long-Lost", "Lingering"),
    ("Cruel", "Cold", "Bitter", "Iron", "Merciless"),
    ("Dreadful", "Whispering", "Sleepless", "Hollow", "Crawling"),
)
TITLE_DEEDS: tuple[tuple[str, ...], ...] = (
    ("Homecoming", "Reunion", "Table for Nine", "Family Album"),
    ("Love Letter", "First Dance", "Bouquet", "Rendezvous"),
    ("Quest", "Long Way", "Map", "Riddle"),
    ("Missing Page", "Alibi", "Witness", "Case"),
    ("Heist", "Getaway", "Safe", "Swindle"),
    ("Flood", "Last Hour", "Alarm", "Rescue"),
)
