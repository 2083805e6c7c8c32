"""--mode=plan: a row for each slice that is asked for, each compiled in a process of its own, into one table.

Unusual: a row that plan.json has already, of the same configuration, dataset, compiler and source code, is not compiled
again: an interrupted plan goes on where it was.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path

from hpa_jax.config import Config, listed, to_dict
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.files import write_json
from hpa_jax.plan.compiler import Died, Refused, ask, find_libtpu
from hpa_jax.plan.dataset import Epoch, epoch_of
from hpa_jax.plan.roofline import hours_per_epoch
from hpa_jax.plan.search import largest_batch
from hpa_jax.plan.table import details, table
from hpa_jax.plan.topologies import HERE, KNOWN

# What changes nothing in the steps that are compiled.
_WITHOUT_EFFECT = ("checkpoint", "evaluate", "export", "report", "plan")


def plan(config: Config, workdir: Path) -> None:
    """Writes WORKDIR/plan.json, a row (dict) for each of `config.plan.topologies`, and prints them as a table.

    Raises:
      InputError: a slice that the compiler does not know, a configuration that is no training, no compiler.
      RunStopped: stopped by Ctrl-C; the rows that are done stay.
    """
    names = listed(config.plan.topologies)
    if not names:
        raise InputError(
            f"config.plan.topologies is empty; name some of {', '.join(KNOWN)}, or {HERE}"
        )
    epoch = epoch_of(config)
    print(epoch.told, flush=True)
    libtpu = find_libtpu() if set(names) - {HERE} else None
    try:
        if libtpu is not None:
            _refuse_unknown([name for name in names if name != HERE], libtpu)
        rows = _rows(config, names, epoch, libtpu, workdir / "plan.json")
    except KeyboardInterrupt:
        raise RunStopped(
            f"stopped by Ctrl-C; the rows that are done stand in {workdir / 'plan.json'}"
        ) from None
    if all("error" in row for row in rows):
        reasons = "; ".join(f"{row['topology']}: {row['error']}" for row in rows)
        raise (InputError if all(row["refused"] for row in rows) else RunStopped)(
            f"nothing could be planned: {reasons}"
        )
    print("\n" + table(rows) + "\n\n" + "\n".join(map(details, rows)))
    print(
        "\nGB are 10^9 bytes; peak: arguments, results and temporaries of one device. ms/img and eval ms: time of one "
        "device\nan image, at least (its arithmetic, memory or links at their peak); measured where the topology is "
        f"`here`.\nsent MB: of a device a step. h/epoch: at least, of {epoch.fields} fields, training steps alone. "
        f"Written to {workdir / 'plan.json'}"
    )


def _refuse_unknown(names: list[str], libtpu: list[str]) -> None:
    try:
        found = ask({"resolve": names}, "looking up the topologies", libtpu)
    except Died as error:
        raise InputError(f"the TPU compiler does not start ({error}); reinstall libtpu") from error
    for name, facts in found.items():
        if "error" in facts:
            raise InputError(
                f"config.plan.topologies: {name!r} is none that the TPU compiler knows ({facts['error']}); some that "
                f"it does: {', '.join(KNOWN)}; or {HERE}, the devices at hand"
            )


def _rows(
    config: Config, names: tuple[str, ...], epoch: Epoch, libtpu: list[str] | None, path: Path
) -> list[dict]:
    known = _already(path)
    rows = []
    for name in names:
        key = _key(config, name)
        row = known.get(key)
        if row is not None:
            print(f"{name}: taken from {path}, the same configuration and code")
        else:
            row = _row(config, name, libtpu)
        if (
            config.plan.search
            and "fits" in row
            and "largest_batch_per_chip" not in row
            and name != HERE
        ):
            row |= largest_batch(config, row, libtpu)
        row |= {"key": key, "fields": epoch.fields, "fields_from": epoch.source}
        row["hours_per_epoch"] = hours_per_epoch(
            row.get("ms_per_image"), epoch.fields, row.get("devices", 1)
        )
        rows.append(row)
        # Rows of an earlier plan that are still to be looked up stay until then.
        later = {_key(config, other) for other in names[len(rows) :]}
        write_json(path, rows + [known[key] for key in later if key in known])
    return rows


def _row(config: Config, name: str, libtpu: list[str] | None) -> dict:
    request = {"config": to_dict(config), "topology": name, "steps": ["training", "evaluation"]}
    try:
        row = ask(request, f"{name}: starting", None if name == HERE else libtpu)
    except (Refused, Died) as error:
        return {"topology": name, "error": str(error), "refused": isinstance(error, Refused)}
    spent = sum(row.get(f"{prefix}compile_s", 0) for prefix in ("", "eval_"))
    print(
        f"{name}: {'fits' if row['fits'] else 'does not fit'} ({spent:.0f} s of compiling)",
        flush=True,
    )
    return row


def _already(path: Path) -> dict[str, dict]:
    """The rows of an earlier plan that a compiler gave, by their key."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["key"]: row for row in rows if "fits" in row and not row["measured"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _key(config: Config, topology: str) -> str:
    """Stands for all that a row depends on: configuration, versions, and this package's source."""
    sections = {
        name: values for name, values in to_dict(config).items() if name not in _WITHOUT_EFFECT
    }
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")]
    text = json.dumps([sections, topology, config.plan.effort, versions], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    package = Path(__file__).resolve().parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]
