"""The vocabulary of the sample shop: people, places, products and remarks, all invented.

Countries, territories, product lines and order statuses are spelled as such shops spell them.
In patterns, `#` is a digit and `@` a capital letter.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Locale:
    """Names of people, streets and firms; `{last}`, `{word}` and `{n}` are filled in.

    The first of `first` and `last` together are a name in every shop.
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    streets: tuple[str, ...]
    firms: tuple[str, ...]


@dataclass(frozen=True)
class Country:
    """A country, its pattern of phone numbers, and its sales territory."""

    locale: str
    phone: str
    territory: str = "EMEA"


@dataclass(frozen=True)
class Place:
    """A city with the pattern of its postal codes."""

    city: str
    country: str
    postal: str
    state: str | None = None


@dataclass(frozen=True)
class Line:
    """A product line; `share` of 110 products; `years` the models were first built."""

    name: str
    share: int
    scales: tuple[str, ...]
    years: tuple[int, int]
    makes: tuple[str, ...]
    models: tuple[str, ...]
    text: str
    html: str | None


LOCALES = {
    "english": Locale(
        ("Ada", "Brendan", "Chloë", "Dominic", "Eleanor", "Fergus", "Grace", "Hamish", "Imogen"),
        ("D'Arcy", "Ashdown", "Brightwell", "Carrow", "Ellery", "Fenwick", "O'Hara", "Wray"),
        ("{n} Harbour Road", "{n} Mill Lane", "{n} Station Street", "{n} Kings Parade"),
        ("{last} & Sons", "{word} Models Ltd", "The {word} Toy Company", "{last}'s Hobby Shop"),
    ),
    "american": Locale(
        ("Abigail", "Beau", "Carmen", "Dwayne", "Estelle", "Frank", "Gloria", "Hank", "Zoë"),
        ("Abernathy", "Bracken", "Castellano", "Dupree", "Eastman", "Folsom", "Whitaker"),
        ("{n} Maple Ave.", "{n} Old Depot Rd.", "{n} West 4th Street", "{n} Lakeshore Drive"),
        ("{word} Collectibles Inc.", "{last} Hobbies, LLC", 'The "{word}" Store', "{word} Gifts"),
    ),
    "german": Locale(
        ("Anke", "Björn", "Cäcilie", "Dietmar", "Elke", "Florian", "Jürgen", "Käthe"),
        ("Ackermann", "Böhm", "Dörfler", "Großmann", "Hölzl", "Lindner", "Müller-Thurau"),
        ("Hafenstraße {n}", "Am Güterbahnhof {n}", "Lindenallee {n}", "Schulweg {n}"),
        ("Modellhaus {last} GmbH", "{last} & Töchter KG", "Spielwaren {word} AG"),
    ),
    "french": Locale(
        ("Aurélie", "Benoît", "Céline", "Didier", "Émile", "François", "Gaëlle", "Héloïse"),
        ("Aubry", "Besançon", "Chênevert", "Delacourt", "Évrard", "L'Hôpital", "Noël"),
        ("{n}, rue de l'Écluse", "{n}, quai des Brumes", "{n} bis, avenue du Moulin"),
        ("Maquettes {last}", "La Boîte à {word} S.A.", "{last} et Fils", "Atelier {word} SARL"),
    ),
    "iberian": Locale(
        ("Álvaro", "Begoña", "Catarina", "Íñigo", "João", "Lucía", "Núria", "Tomás"),
        ("Araújo", "Ibáñez", "Conceição", "Domínguez", "Gonçalves", "Muñoz", "Peña"),
        ("C/ del Puerto, {n}", "Rua da Estação, {n}", "Av. de la Constitución, {n}"),
        ("Juguetes {last}, S.L.", "Miniaturas {word}", "{last} e Filhos, Lda."),
    ),
    "italian": Locale(
        ("Alessio", "Beatrice", "Cosimo", "Donatella", "Ettore", "Niccolò"),
        ("Abbàte", "Bellandi", "Corsaro", "D'Amico", "Forlì", "Montagnoli"),
        ("Via del Porto {n}", "Piazza della Stazione, {n}", "Corso Umberto {n}"),
        ("Modellismo {last} S.p.A.", "Bottega {word} s.r.l.", "Fratelli {last}"),
    ),
    "dutch": Locale(
        ("Anouk", "Bram", "Cato", "Daniël", "Eefje", "Joris", "Loïs"),
        ("van den Akker", "Brouwer", "de Graaf", "'t Hart", "Kuijpers", "van 't Hoff"),
        ("Havenstraat {n}", "Stationsplein {n}", "Oude Gracht {n}"),
        ("{last} Modelbouw B.V.", "Speelgoedhuis {word}", "{word} & Zoon N.V."),
    ),
    "nordic": Locale(
        ("Søren", "Åse", "Bjørn", "Dagny", "Göran", "Håkan", "Jørgen", "Päivi"),
        ("Ångström", "Bækkelund", "Dahl", "Grønvold", "Hämäläinen", "Sørensen", "Öberg"),
        ("Havnegata {n}", "Skeppsbron {n}", "Østergade {n}", "Satamakatu {n}"),
        ("{last} Modeller AS", "{word} Hobby AB", "{last} & Søn A/S", "{word} Lelut Oy"),
    ),
    "polish": Locale(
        ("Łukasz", "Małgorzata", "Paweł", "Żaneta"),
        ("Dąbrowski", "Łęcka", "Śliwiński", "Źrebiec"),
        ("ul. Portowa {n}", "ul. Świętego Ducha {n}/4", "al. Jana Pawła {n}"),
        ("{last} i Synowie Sp. z o.o.", "Modele {word} S.A."),
    ),
    "japanese": Locale(
        ("花子", "健太", "美咲", "Haruki", "Sōichirō"),
        ("𠮷田", "佐藤", "山本", "Ōtani", "高橋"),
        ("港町{n}丁目", "{n}-4 Nishi-machi", "駅前通り{n}"),
        ("株式会社{last}模型", "{last}ホビー", "{word} Models K.K."),
    ),
    "asian": Locale(
        ("Wei Ling", "Jun Hao", "Mei", "Rajan", "Siti", "Jose Maria"),
        ("Tan", "Lim", "Wong", "Chua", "Krishnan", "de la Cruz"),
        ("Blk {n} Harbourfront Ave", "{n} Queen's Road East", "Unit {n}, Marina Tower"),
        ("{last} Trading Pte Ltd", "{word} Models (Asia) Ltd.", "{last} Brothers & Co."),
    ),
}

COUNTRIES = {
    "USA": Country("american", "(###) 555-01##", "NA"),
    "Canada": Country("american", "+1 ### 555 01##", "NA"),
    "UK": Country("english", "+44 20 7946 0###"),
    "Ireland": Country("english", "+353 20 91# ####"),
    "Germany": Country("german", "+49 30 23125 ###"),
    "Austria": Country("german", "+43 1 ### ## ##"),
    "Switzerland": Country("german", "+41 44 ### ## ##"),
    "France": Country("french", "01.99.00.##.##"),
    "Belgium": Country("french", "(02) ### ## ##"),
    "Netherlands": Country("dutch", "+31 20 ### ####"),
    "Spain": Country("iberian", "(91) 555 ## ##"),
    "Portugal": Country("iberian", "(1) 356-####"),
    "Italy": Country("italian", "011-49885##"),
    "Norway": Country("nordic", "+47 2267 ####"),
    "Denmark": Country("nordic", "31 12 ####"),
    "Sweden": Country("nordic", "0695-34 ## ##"),
    "Finland": Country("nordic", "90-224 ####"),
    "Poland": Country("polish", "(26) 642-####"),
    "South Africa": Country("english", "+27 21 550 ####"),
    "Japan": Country("japanese", "+81 3 5550 ####", "Japan"),
    "Hong Kong": Country("asian", "+852 2251 ####", "APAC"),
    "Singapore": Country("asian", "+65 6221 ####", "APAC"),
    "Philippines": Country("asian", "+63 2 555 ####", "APAC"),
    "Australia": Country("english", "03 5550 ####", "APAC"),
    "New Zealand": Country("english", "+64 9 312 ####", "APAC"),
}

# The first two share their only postal code. Cities of one name are planted, like accents.
PLACES = (
    Place("Malmö", "Sweden", "22100"),
    Place("Lund", "Sweden", "22100"),
    Place("New York", "USA", "100##", "NY"),
    Place("Paris", "France", "750##"),
    Place("San Francisco", "USA", "941##", "CA"),
    Place("Łódź", "Poland", "90-0##"),
    Place("東京", "Japan", "10#-00##"),
    Place("Zürich", "Switzerland", "80##"),
    Place("London", "UK", "EC#A #@@"),
    Place("Boston", "USA", "021##", "MA"),
    Place("Kansas City", "USA", "641##", "MO"),
    Place("Kansas City", "USA", "661##", "KS"),
    Place("Madrid", "Spain", "280##"),
    Place("Melbourne", "Australia", "30##", "Victoria"),
    Place("Köln", "Germany", "506##"),
    Place("Tokyo", "Japan", "1##-####"),
    Place("Chicago", "USA", "606##", "IL"),
    Place("Lyon", "France", "6900#"),
    Place("Vancouver", "Canada", "V#@ #@#", "BC"),
    Place("Singapore", "Singapore", "01####"),
    Place("Århus", "Denmark", "8###"),
    Place("København", "Denmark", "1###"),
    Place("Cork", "Ireland", "T12 @#@#"),
    Place("Auckland", "New Zealand", "10##"),
    Place("Seattle", "USA", "981##", "WA"),
    Place("Portland", "USA", "972##", "OR"),
    Place("Portland", "USA", "041##", "ME"),
    Place("Bergen", "Norway", "50##"),
    Place("Tromsø", "Norway", "N 90##"),
    Place("Helsinki", "Finland", "00###"),
    Place("Oulu", "Finland", "90###"),
    Place("Torino", "Italy", "101##"),
    Place("Forlì", "Italy", "471##"),
    Place("Lisboa", "Portugal", "11##-###"),
    Place("São João da Madeira", "Portugal", "3700-###"),
    Place("Bruxelles", "Belgium", "B-10##"),
    Place("Liège", "Belgium", "B-40##"),
    Place("Utrecht", "Netherlands", "35## @@"),
    Place("'s-Hertogenbosch", "Netherlands", "52## @@"),
    Place("Salzburg", "Austria", "50##"),
    Place("Graz", "Austria", "80##"),
    Place("Hong Kong", "Hong Kong", "999077"),
    Place("Makati City", "Philippines", "12## SF"),
    Place("Cape Town", "South Africa", "80##"),
    Place("Sydney", "Australia", "20##", "NSW"),
    Place("Wellington", "New Zealand", "60##"),
    Place("Toronto", "Canada", "M#@ #@#", "ON"),
    Place("Montréal", "Canada", "H#@ #@#", "Québec"),
    Place("Los Angeles", "USA", "900##", "CA"),
    Place("Burlington", "USA", "054##", "VT"),
    Place("Philadelphia", "USA", "191##", "PA"),
    Place("Las Vegas", "USA", "891##", "NV"),
    Place("Nantes", "France", "440##"),
    Place("Besançon", "France", "250##"),
    Place("München", "Germany", "803##"),
    Place("Frankfurt am Main", "Germany", "603##"),
    Place("Leipzig", "Germany", "041##"),
    Place("Manchester", "UK", "M# #@@"),
    Place("Stratford-upon-Avon", "UK", "CV37 #@@"),
    Place("A Coruña", "Spain", "150##"),
    Place("Sevilla", "Spain", "410##"),
    Place("大阪", "Japan", "53#-00##"),
    Place("Genève", "Switzerland", "12##"),
)

OfficeRow = tuple[str, str, str, str, str | None, str | None, str, str, str]
OFFICES: tuple[OfficeRow, ...] = (
    # code, city, phone, address lines, state, country, postal code, territory
    ("1", "San Francisco", "+1 415 555 0100", "9 Cable Row", "Floor 3", "CA", "USA", "94107", "NA"),
    ("2", "Boston", "+1 617 555 0100", "77 Wharf Street", "", "MA", "USA", "02110", "NA"),
    ("3", "New York", "+1 212 555 0100", "401 Foundry Ave.", None, "NY", "USA", "10011", "NA"),
    (
        "4",
        "Paris",
        "+33 1 99 00 01 00",
        "12, rue des Ardoises",
        None,
        "",
        "France",
        "75009",
        "EMEA",
    ),
    ("5", "Tokyo", "+81 3 5550 0100", "3-9 Kanda", None, "Tōkyō-to", "Japan", "101-0047", "Japan"),
    ("6", "Sydney", "+61 2 5550 0100", "8 Ropewalk", "", "NSW", "Australia", "2000", "APAC"),
    ("7", "London", "+44 20 7946 0100", "5 Tallow Yard", "Unit 2", None, "UK", "E1W 2BS", "EMEA"),
)

WORDS = (
    "Anchor", "Beacon", "Clockwork", "Diecast", "Express", "Falcon", "Gearwheel", "Horizon",
    "Iron Horse", "Jubilee", "Kingfisher", "Lantern", "Meridian", "Nautilus", "Orbit", "Pennant",
    "Quicksilver", "Rivet", "Semaphore", "Tailwind", "Union", "Velocity", "Windjammer", "Zeppelin",
)  # fmt: skip

LINES = (
    Line(
        "Classic Cars", 38, ("1:10", "1:12", "1:18", "1:24"), (1948, 1989),
        ("Aurelio", "Bexley", "Corvane", "Halberd", "Kestrel", "Marlowe", "Sabre & Hart", "Vantor"),
        ("Coupé", "GT 2+2", "Roadster", "Spyder", "Estate", "Convertible", "500 Special"),
        "Cars from the decades of chrome and tail fins, with doors that open.",
        "<p>Cars from the decades of <em>chrome &amp; tail fins</em>.</p>",
    ),
    Line(
        "Motorcycles", 13, ("1:10", "1:18"), (1936, 2004),
        ("Dragoon", "Ibis", "Northgate", "Tarantella"),
        ("Café Racer", "Scrambler 350", "Side-car", "Tourer"),
        "Two wheels, working suspension, and a kick-stand that holds.",
        "<p>Two wheels.<br/>Working suspension.</p>",
    ),
    Line(
        "Planes", 12, ("1:72", "1:48", "1:700"), (1917, 1979),
        ("Albion", "Condor Werke", "Pelican"),
        ("Biplane", "Flying Boat", "Jet Trainer", "Mail Carrier", "Tri-motor"),
        "Aircraft for the desk or the ceiling, display stand included.",
        "",
    ),
    Line(
        "Ships", 9, ("1:700", "1:72", "1:18"), (1620, 1936),
        ("The Amaranth", "The Faithful Gull", "HMS Persimmon", "The Nordlys"),
        ("Clipper", "Frigate", "Paddle Steamer", "Schooner"),
        "Hulls planked by hand; rigging takes an evening.",
        "<p>Hulls planked by hand.</p>\n<p>Rigging takes an evening.</p>",
    ),
    Line(
        "Trains", 3, ("1:32", "1:50"), (1855, 1965),
        ("Great Fen Railway", "Kaiserstadt"),
        ("Mail Coach", "Tank Engine", "Tramcar"),
        "Locomotives and carriages for shelf or track.",
        None,
    ),
    Line(
        "Trucks and Buses", 11, ("1:18", "1:24", "1:50"), (1926, 1999),
        ("Brummell", "Ox & Yoke", "Zubrów"),
        ("Double-Decker", "Fire Engine", "Pickup", "School Bus", "Tanker"),
        "Working vehicles, as they were: mud guards, ladders and all.",
        "<ul><li>mud guards</li><li>ladders</li></ul>",
    ),
    Line(
        "Vintage Cars", 24, ("1:18", "1:24"), (1903, 1939),
        ("Auberge", "Crossley-Vane", "Hirondelle", "Stanhope", "Wolfram"),
        ("Landaulet", "Limousine", "Phaeton", "Speedster", "Tourer", "Town Car"),
        "Brass lamps and running boards, from before 1940.",
        "<p>Brass lamps and running boards, from before 1940.</p>",
    ),
)  # fmt: skip

VENDORS = (
    "Atelier Petite Échelle", "Bantam Replicas", "Carousel Castings", "Drydock Miniatures",
    "Elm Street Diecast", "Gresham & Pike", "Highwire Models", "Kleinwerk", "Metal & Motion",
    "Old Quay Studio", "Second Gear Classics", "Tin Lantern", "Würfel & Co.",
)  # fmt: skip

DETAILS = (
    "Opening bonnet and boot, steerable front wheels.",
    'Numbered edition; the box says "limited" and means it.',
    "Hand-painted, 35 parts,\nassembled.",
    "Die-cast body\tchrome trim\trubber tyres.",
    "Comes with a stand and a certificate. Not a toy: small parts, age 14+.",
)

# Comments as people type them. The odd ones are hard for loaders.
COMMENTS = (
    "Customer asks for delivery before noon.",
    "Leave at the loading dock,\nring twice,\nask for Søren.",
    'They said "as agreed" & hung up.',
    "Gift wrap\tyes\tcard\tno",
    "It's the customer's third order this month; don't repeat the survey.",
    "Path on their share: C:\\orders\\new\\",
    "Discount approved by phone: 5%, 10% from line 4 on",
    "Łukasz zapłaci przelewem — proszę poczekać…",
    "配達は午後にお願いします。",
    "First line\r\nsecond line, pasted from a mail",
    "NULL",
    "\\N",
    "; drop table orders; --",
    "  indented, with spaces at the end  ",
    "Nice! 🚂🚃🚃",
    "a,b;c|d",
)

REASONS = {
    "Cancelled": (
        "Customer found a better price elsewhere.",
        "Cancelled by phone; ordered twice by mistake.",
    ),
    "Disputed": (
        "Customer claims two boxes were damaged.",
        'Invoice disputed: "not what we ordered".',
    ),
    "On Hold": (
        "Credit limit exceeded, waiting for a payment.",
        "Address could not be confirmed;\nwill call again on Monday.",
    ),
    "Resolved": (
        "Replacement sent, customer is content.",
        "We refunded the freight and kept the customer.",
    ),
}
