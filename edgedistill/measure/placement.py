"""Which provider a measurement asks for, and whether that one did the work, on a runtime that the target's profile does not forbid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgedistill import profiles, providers
from edgedistill.errors import DeviceError

SHIPPED = ("bundle", "model")  # the subjects that a bench is about: what their provider did not run at all has no figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every job of a measurement says of its session, and what the profile has to say of the device: nothing where it is of another system."""

    keys: Mapping[str, Any]
    runtime: Mapping[str, Any]
    here: bool


def ask(name: str, profile: Mapping[str, Any] | None, facts: Mapping[str, Any], threads: int | None, *, strict: bool) -> Asked:
    """The session to ask a device for; `profile` is the packed one of a bundle, None where there is none.

    Raises ConfigError for an unknown provider, DeviceError where it does not exist on the device's system.
    """
    provider = providers.find(name)
    if provider is not providers.CPU and facts["os"] not in provider.systems:
        raise DeviceError(f"{provider.name} does not exist on {facts['os']}", hint=f"it exists on {', '.join(provider.systems)}")
    here = profile is not None and profiles.is_of_system(profile["platform"]["os"], profile["platform"]["arch"], facts["os"], facts["arch"])
    runtime = profile["runtime"] if profile else {}
    keys = providers.job_keys(provider, runtime if here else {}, threads)
    return Asked(keys={**keys, "strict": strict}, runtime=runtime, here=here)


def judge(subject: str, asked: Asked, result: Mapping[str, Any], warn: Callable[[str], None], *, traced: bool = False) -> None:
    """Say what is wrong with a result's provider and version; `traced` says that its job asked who ran what.

    Raises DeviceError where the provider was not there or refused the model, where it ran nothing of the bundle or, when `strict`, not
    everything of any subject, and where a device of the profile's system has a version that the profile forbids. Other cases are warnings.
    """
    name = asked.keys["provider"]
    if result["status"] == "no_provider":
        raise DeviceError(f"bench: the {subject}: {result['detail']}", hint=providers.install(name))
    _judge_version(asked, result, warn)
    if traced and asked.keys["strict"] and name != providers.CPU.name and result["status"] == "ok" and "placement" not in result:
        raise DeviceError(f"the {subject}: this device does not tell which provider ran what", hint="without --strict the figures are taken")
    if result["status"] != "fell_back":
        return
    ran = result["placement"].get(name, {"nodes": 0})["nodes"]
    if asked.keys["strict"] or (not ran and subject in SHIPPED):
        hint = "without --strict the figures are kept, with who ran what" if ran else "without --provider the CPU is measured, under its own name"
        raise DeviceError(f"bench: the {subject} fell back: {result['detail']}", hint=hint)
    warn(f"the {subject} fell back: {result['detail']}")


def _judge_version(asked: Asked, result: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """A crashed process cannot tell its version: then all that is forbidden is told."""
    if result["status"] == "crashed" and asked.here:
        for sentence in providers.forbidden(asked.runtime).values():
            warn(sentence)
    sentence = providers.fault_of(asked.runtime, result.get("onnxruntime", ""))
    if sentence and asked.here:
        raise DeviceError(f"bench: {sentence}", hint="pip install --upgrade onnxruntime")
    if sentence:
        warn(f"on the target {sentence}")
