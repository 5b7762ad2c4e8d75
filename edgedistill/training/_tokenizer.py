"""A model folder's tokenizer: tokenizer.json, and what other files of the folder say of it, which transformers puts above it.

What they say of how a text is split is asked of transformers, where tokenizer.json says otherwise; the tokenizer that comes of it is saved
as a tokenizer.json alone. So is the side that long texts are cut from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgedistill import runtime
from edgedistill.errors import ConfigError, Fault

CONFIG, MAP = "tokenizer_config.json", "special_tokens_map.json"
FILES = (CONFIG, MAP)
ADDED = "added_tokens_decoder"  # a tokenizer_config.json that has it is newer than a special_tokens_map.json beside it, which then is not read
PADDING = ("[PAD]", "<pad>")
SIDES = ("left", "right")
LONGEST = "model_max_length"
PROBES = ("Straße ÉLAN café", " two  blanks", "中文字 and 1,234.5", "don't STOP-gap\n\tnow ½ ﬁ İ")


def settings(folder: Path) -> dict[str, Any]:
    """The settings of a folder, empty where it has none. Raises ConfigError when a file is no JSON object."""
    found = {name: _object(folder / name) for name in FILES}
    return found[CONFIG] | ({} if ADDED in found[CONFIG] else found[MAP])


def _object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise ConfigError(f"{file} is not a JSON object")
    return read


def faults(folder: Path, max_length: int, whose: str) -> list[Fault]:
    """Texts may not be longer than the folder says its tokenizer reads, and are cut on a side that there is. Raises ConfigError as `settings`."""
    said = settings(folder)
    wrong = []
    longest = said.get(LONGEST)
    if isinstance(longest, int | float) and not isinstance(longest, bool) and longest < max_length:
        what = f"{max_length} tokens, but {whose}'s tokenizer reads {longest:.0f} ({LONGEST} in {_where(folder, LONGEST)})"
        wrong.append(Fault("data.max_length", what, f"max_length = {longest:.0f}, or a larger {LONGEST} where the model has positions for it"))
    if (named := said.get("truncation_side", runtime.RIGHT)) not in SIDES:
        where = _where(folder, "truncation_side")
        wrong.append(Fault("", f"{where}: truncation_side is {named!r}", " or ".join(SIDES)))
    return wrong


def _where(folder: Path, key: str) -> Path:
    """The file whose word on a setting counts."""
    listed = ADDED in _object(folder / CONFIG)
    return folder / (MAP if not listed and key in _object(folder / MAP) else CONFIG)


def side(folder: Path, tokenizer: Any) -> str:
    """The side that long texts are cut from: the folder's, else the one in tokenizer.json. Raises ConfigError where it is none."""
    named = settings(folder).get("truncation_side") or runtime.side(tokenizer)
    if named not in SIDES:
        raise ConfigError(faults(folder, 0, ""))
    return str(named)


def load(folder: Path) -> Any:
    """The folder's tokenizer as transformers would use it. Raises ConfigError when there is none, or when nobody can say what a setting means."""
    from tokenizers import Tokenizer

    file, said = folder / "tokenizer.json", settings(folder)
    try:
        if not file.is_file():
            return _transformers(folder)
        own = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception, transformers OSError, ValueError and others
        raise ConfigError(f"{folder} has no tokenizer that can be loaded: {error}") from error
    changed = [key for key, is_so in _SETTINGS.items() if key in said and said[key] is not None and is_so(own, said) != said[key]]
    if not changed:
        return own
    try:
        theirs = _transformers(folder)
    except Exception as error:  # the same
        what = f"{_where(folder, changed[0])} sets {changed[0]}, which {file} does not, and transformers cannot load the two: {error}"
        raise ConfigError(what, hint=f"take {', '.join(changed)} out where tokenizer.json is right") from error
    if _alike(own, theirs, said):
        return own
    runtime.leave_whole(theirs, runtime.side(own))
    return theirs


def _transformers(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder).backend_tokenizer


def _alike(own: Any, theirs: Any, said: Mapping[str, Any]) -> bool:
    """Whether two tokenizers read the probes alike, and the added tokens that the folder lists, before they look for pieces and after."""
    listed = said.get(ADDED)
    added = [f"a {_content(token)} b" for token in (listed.values() if isinstance(listed, dict) else ())]
    one, other = _bare(own), _bare(theirs)
    return all(_read(one, text) == _read(other, text) for text in (*PROBES, *added))


def _bare(tokenizer: Any) -> Any:
    """A copy that neither cuts nor fills up."""
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def _read(tokenizer: Any, text: str) -> tuple[Any, ...]:
    normal = _normal(tokenizer, text)
    words = tokenizer.pre_tokenizer.pre_tokenize_str(normal) if tokenizer.pre_tokenizer else normal
    return normal, words, tokenizer.encode(text).ids, tokenizer.encode(text, text).ids


def _normal(tokenizer: Any, text: str) -> str:
    return str(tokenizer.normalizer.normalize_str(text)) if tokenizer.normalizer else text


def _begins_with_blank(tokenizer: Any, said: Mapping[str, Any]) -> bool:
    found = _read(tokenizer, "a")[1]
    return (found if isinstance(found, str) else found[0][0]) != "a"


def _knows_added(tokenizer: Any, said: Mapping[str, Any]) -> Any:
    """The added tokens that the folder lists, where the tokenizer has them all under their numbers."""
    listed = said[ADDED]
    pairs = listed.items() if isinstance(listed, dict) else ()
    return listed if all(str(tokenizer.token_to_id(_content(token) or "")) == index for index, token in pairs) else None


_SETTINGS = {  # a setting → what tokenizer.json does
    "do_lower_case": lambda tokenizer, said: _normal(tokenizer, "A") == "a",
    "strip_accents": lambda tokenizer, said: _normal(tokenizer, "é") == "e",
    "tokenize_chinese_chars": lambda tokenizer, said: _normal(tokenizer, "中") != "中",
    "add_prefix_space": _begins_with_blank,
    ADDED: _knows_added,
}


def padding(folder: Path, tokenizer: Any, config: Mapping[str, Any]) -> int | None:
    """The id that batches of a model whose config names none are filled up with: the tokenizer's padding, else its end of text; None without."""
    said = settings(folder)
    names = [_content(said.get("pad_token")), *PADDING]
    ends = config.get("eos_token_id")
    found = [tokenizer.token_to_id(name) for name in names if name]
    found += ends if isinstance(ends, list) else [ends]
    found += [tokenizer.token_to_id(name) for name in [_content(said.get("eos_token"))] if name]
    rows = config.get("vocab_size") or 0
    return next((index for index in found if isinstance(index, int) and 0 <= index < rows), None)


def _content(token: Any) -> str | None:
    """A special token's text; it may be written with its flags."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
