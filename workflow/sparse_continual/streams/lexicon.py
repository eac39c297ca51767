"""The word-level vocabulary of every generated source, so that bases and streams share one vocabulary.

Each word is one token. Names, values, employers and symbols are pools for the sources; `GLUE` holds the remaining words
of the sources' own sentences.
"""

from dataclasses import dataclass
from functools import lru_cache

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")

FIRST = tuple(
    "Ada Adam Agnes Alan Alma Anton Boris Brenda Carla Cedric Clara Conrad Daphne Dario Edgar Edith Elias "
    "Emma Felix Fiona Georg Greta Hanna Hugo Ida Igor Ines Ivan Jana Jonas Judith Karl Lena Leo Lydia "
    "Magda Marco Mira Nadia Nils Olga Oscar Paula Quentin Rosa Simon Tilda Viktor".split()
)
LAST = tuple(
    "Abbott Arnold Bauer Becker Blake Brandt Carver Castle Decker Dorn Draper Egger Ellis Farkas Fletcher "
    "Foster Gruber Hale Harper Hoffman Ingram Jansen Kemp Keller Lang Lorenz Marsh Mercer Nagel Norton "
    "Osborn Parker Pichler Quinn Ramsey Ritter Sawyer Seidel Thorpe Turner Ulrich Vogel Walsh Weaver "
    "Winkler Yates Zeller Zimmer".split()
)
INSTRUMENTS = tuple(
    "accordion banjo bassoon bugle cello clarinet cornet drum fiddle flute guitar harp lute lyre oboe "
    "organ piano trumpet viola zither".split()
)
DISHES = tuple(
    "bread cabbage carrots cheese curry dumplings goulash lentils mushrooms noodles olives pancakes peas "
    "pizza porridge potatoes rice salad soup stew".split()
)
ANIMALS = tuple(
    "badger canary cat cow dog donkey duck ferret goat goose hamster hedgehog hen horse lizard parrot pig "
    "rabbit sheep tortoise".split()
)
EMPLOYERS = tuple(
    "Aldora Arbenz Belvex Brixton Calden Corvane Dorvik Dynara Elmstar Eskar Farrow Fenwell Gildor Granix Harwick "
    "Helmond Isenta Ivorex Jarvex Jolman Kestrel Kolder Lorvane Lumina Mellor Morvex Nexum Nordal Orbix Ostara "
    "Pelham Pyrex Quillon Quorra Rivium Rowand Sandor Solvane Tarkon Trelis Ulvane Umbrix Valdor Vexler Wexley "
    "Wolden Zantor Zephyr".split()
)
CITIES = tuple(
    "Athens Berlin Cairo Delhi Dublin Geneva Hanoi Jakarta Kyoto Lagos Lima Lisbon Madrid Manila Nairobi "
    "Oslo Paris Prague Quito Riga Rome Seoul Tunis Vienna".split()
)
TRADES = tuple(
    "bicycles blankets bottles bricks buttons candles carpets clocks cups doors engines furniture gloves "
    "knives ladders lamps mirrors paper ropes saddles shoes tents tiles umbrellas".split()
)
SYMBOLS = tuple(f"s{i}" for i in range(111))
RULES = ("copy", "reverse", "sort", "addition", "parity", "lookup")
GLUE = tuple(
    "a always animal asks at busy cooks deals dinner dish eat evening favourite feeds fine for founded "
    "garden hides home house hungry in instrument is its joined keeps likes making never night of office "
    "old owns play plays practises refuse seat sell sells ship some the to travels walks was when which "
    "whose with works would : = ?".split()
)
POOLS = (FIRST, LAST, INSTRUMENTS, DISHES, ANIMALS, EMPLOYERS, CITIES, TRADES, SYMBOLS, RULES, GLUE)


def vocabulary() -> list[str]:
    """All tokens in the order of their ids: the special ones, then the pools."""
    return [*SPECIAL, *(word for pool in POOLS for word in pool)]


@dataclass
class Words:
    """The vocabulary with the part of a tokenizer's interface that `encode.Encoder` needs: importing transformers would
    take longer than building a stream. One token per word between spaces; nothing is added."""

    backend: object  # tokenizers.Tokenizer
    bos_token_id: int = SPECIAL.index("<s>")
    unk_token_id: int = SPECIAL.index("<unk>")

    @property
    def added_tokens_decoder(self) -> dict:
        """Id -> its tokenizers.AddedToken, of the special tokens."""
        return self.backend.get_added_tokens_decoder()

    def __call__(self, texts: list[str], split_special_tokens: bool = False, **_) -> dict:
        self.backend.encode_special_tokens = split_special_tokens
        return {"input_ids": [encoding.ids for encoding in self.backend.encode_batch_fast(texts)]}


@lru_cache(maxsize=1)
def words() -> Words:
    """The vocabulary, to encode with."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.add_special_tokens(list(SPECIAL))
    return Words(backend)


@lru_cache(maxsize=1)
def tokenizer():
    """The same vocabulary as a transformers.PreTrainedTokenizerFast, to save with a model."""
    from transformers import PreTrainedTokenizerFast

    pad, bos, eos, unknown = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=words().backend,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        padding_side="right",
    )
