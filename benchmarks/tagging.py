"""How well, and how fast, narrations are tagged: against the human classes of EPIC-KITCHENS-100's validation rows.

    python benchmarks/tagging.py

reads the annotations below PLAYHEAD_DATA (default: ../shared/data beside the repository). Recall is the share of human
labels that the tagger's set contains, precision the share of the tagger's ids that are human labels, both counted over
all rows (micro); a narration has one verb class, and nouns are held against `all_noun_classes`. The tagger keeps no
narration it has seen, so the rates are without any cache; they are given over all rows and over the different texts.

The class files list the words of the whole data set's narrations. So there is a second, harder measure: only words that
the rows of the training file use, which are of other videos, and the names of the classes.
"""

import ast
import csv
import os
import tempfile
import time
from pathlib import Path

from playhead.text.tagging import Tagger, Tags
from playhead.text.taxonomy import Taxonomy

DATA = Path(os.environ.get("PLAYHEAD_DATA", Path(__file__).parents[1] / "../shared/data"))
EPIC = DATA / "annotations/epic100"
VERB_CLASSES, NOUN_CLASSES = EPIC / "EPIC_100_verb_classes.csv", EPIC / "EPIC_100_noun_classes.csv"
EXOLEARN = DATA / "annotations/egoexolearn"
ROUNDS = 5


def main() -> None:
    validation, train = read_rows("EPIC_100_validation.csv"), read_rows("EPIC_100_uda_source_train.csv")
    tagger = Tagger(Taxonomy.from_epic(VERB_CLASSES, NOUN_CLASSES))
    print(f"{'':44}{'verb':>18}{'noun':>18}")
    print(f"{'':44}{'recall':>9}{'prec.':>9}{'recall':>9}{'prec.':>9}")
    print_agreement("validation, words of the class files", tagger, validation)
    print_agreement("training rows, words of the class files", tagger, train)
    print_agreement("validation, words of the training rows only", Tagger(taxonomy_without_unseen(train)), validation)
    print()
    texts = [row["narration"] for row in validation]
    print_rate(f"all {len(texts):,} validation rows", tagger, texts)
    print_rate(f"its {len(set(texts)):,} different texts", tagger, sorted(set(texts)))
    print()
    exolearn = Taxonomy.read(EXOLEARN / "narration_noun_taxonomy.csv", EXOLEARN / "narration_verb_taxonomy.csv")
    print(f"EgoExoLearn's taxonomy: {len(exolearn.nouns)} nouns, {len(exolearn.verbs)} verbs")
    print_coverage("validation", Tagger(exolearn), texts)
    print_coverage("training rows", Tagger(exolearn), [row["narration"] for row in train])
    print_rate("narrations in Ego4D's form, #C C ...", Tagger(exolearn), [f"#C C {text}" for text in texts])


def read_rows(name: str) -> list[dict[str, str]]:
    with open(EPIC / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def taxonomy_without_unseen(rows: list[dict[str, str]]) -> Taxonomy:
    """The classes of EPIC-KITCHENS-100 with only those instances that `rows` were labelled with."""
    seen = {row["verb"] for row in rows}.union(*(ast.literal_eval(row["all_nouns"]) for row in rows))
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for source in (VERB_CLASSES, NOUN_CLASSES):
            paths.append(Path(folder) / source.name)
            with open(source, encoding="utf-8", newline="") as old, open(paths[-1], "w", encoding="utf-8") as new:
                writer = csv.writer(new)
                writer.writerow(["id", "key", "instances"])
                for row in csv.DictReader(old):
                    kept = [word for word in ast.literal_eval(row["instances"]) if word in seen or word == row["key"]]
                    writer.writerow([row["id"], row["key"], kept])
        return Taxonomy.from_epic(*paths)


def print_agreement(title: str, tagger: Tagger, rows: list[dict[str, str]]) -> None:
    tags = list(tagger.tag_all(row["narration"] for row in rows))
    verbs = agreement([{int(row["verb_class"])} for row in rows], [set(each.verbs) for each in tags])
    nouns = agreement([set(ast.literal_eval(row["all_noun_classes"])) for row in rows], [set(t.nouns) for t in tags])
    print(f"{title:44}" + "".join(f"{100 * value:8.2f}%" for value in (*verbs, *nouns)))


def agreement(human: list[set[int]], found: list[set[int]]) -> tuple[float, float]:
    """Recall and precision over all labels."""
    shared = sum(len(labels & ids) for labels, ids in zip(human, found, strict=True))
    return shared / sum(map(len, human)), shared / max(1, sum(map(len, found)))


def print_rate(title: str, tagger: Tagger, texts: list[str]) -> None:
    """Narrations per second of processor time on one core: the median of some rounds, after one to warm up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        for text in texts:
            tagger.tag(text)
        seconds.append(time.process_time() - start)
    print(f"{title:44}{len(texts) / sorted(seconds[1:])[ROUNDS // 2]:12,.0f} narrations/s on one core")


def print_coverage(title: str, tagger: Tagger, texts: list[str]) -> None:
    tags: list[Tags] = list(tagger.tag_all(texts))
    verb, noun = (100 * sum(map(bool, ids)) / len(texts) for ids in ([t.verbs for t in tags], [t.nouns for t in tags]))
    both = 100 * sum(bool(t.verbs and t.nouns) for t in tags) / len(texts)
    print(f"{title:44}verb in {verb:.2f} %, noun in {noun:.2f} %, both in {both:.2f} % of {len(texts):,} narrations")


if __name__ == "__main__":
    main()
