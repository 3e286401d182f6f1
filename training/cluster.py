"""The Dask engine: files are labelled in worker processes, and LightGBM's workers there grow one model together.

LightGBM finds its own ports on the workers and binds them on every interface for as long as it fits: it knows no other
way. All else of a cluster that is started here stays on loopback.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from models.features import FEATURES, VERSION
from sidecar.errors import SidecarError
from training import fit, partitions
from training.dataset import Dataset, Floats, Guard, Places
from training.spread import Source, Spread, gather

WORKERS: Final = 2  # processes, where no scheduler is named
CONNECT_SECONDS: Final = 10
MINUTES: Final = 10  # that a worker waits for the others of a fit
_NETWORK: Final = re.compile(r"^\[(machines|local_listen_port|num_machines|time_out): .*\]\n", re.MULTILINE)


class ClusterError(SidecarError):
    """The cluster cannot be used, or failed at work."""


@contextmanager
def connect(files: Sequence[Path], scheduler: str | None = None) -> Iterator[Callable[..., Dataset]]:
    """What makes the dataset of these files, as `job.run` takes it; it lives as long as the block.

    `scheduler` is the address of a running one; without it, two worker processes are started, and ended after. Raises
    ClusterError, and SidecarError when a package is missing.
    """
    with ExitStack() as stack:
        client = _client(stack, scheduler)
        _check(client, files)

        def run(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
            return _run(client, function, arguments)

        source = Source(tuple(path.absolute() for path in files), run, client)

        def build(_rows: object, _votes: object, guarded: Guard) -> Dataset:
            return gather(source, guarded)

        yield build


def _client(stack: ExitStack, scheduler: str | None) -> Any:
    try:
        import dask.dataframe  # noqa: F401, PLC0415 -- an extra; LightGBM asks for it and would say less
        from distributed import Client, LocalCluster  # noqa: PLC0415
    except ImportError as error:
        raise SidecarError(partitions.MISSING.format(error.name or "dask")) from None
    if scheduler is None:
        local = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        )  # fmt: skip
        stack.enter_context(local)
        client = stack.enter_context(Client(local))
        client.run(_mute)
        return client
    try:
        client = stack.enter_context(Client(scheduler, timeout=CONNECT_SECONDS))
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler} ({_line(error)}): start one with `dask scheduler` and name its"
            " tcp:// address, or leave out --scheduler for two processes on this machine"
        ) from None
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise ClusterError(f"the scheduler has no workers: start some with `dask worker {scheduler}`") from None
    return client


def _mute() -> None:
    """LightGBM prints of ports, whatever its verbosity, where our report goes. Errors are raised anyway."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _check(client: Any, files: Sequence[Path]) -> None:
    """Every worker has this version of the package and sees the folder."""
    newest = files[-1].absolute()
    for worker, said in client.run(_look, newest, on_error="return").items():
        if isinstance(said, BaseException):
            raise ClusterError(f"the worker {worker} cannot run this package ({_line(said)}): {INSTALL}")
        features, seen = said
        if features != VERSION:
            raise ClusterError(f"the worker {worker} has another version of this package: {INSTALL}")
        if not seen:
            raise ClusterError(
                f"the worker {worker} does not see {newest}: --data must be a folder that all of them share"
            )


INSTALL: Final = "install alertmanager-sidecar[train,cluster] there, in the version that is here"


def _look(path: Path) -> tuple[str, bool]:
    return VERSION, path.is_file()


def _run(client: Any, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """The results in the order of the arguments, each let go of as it is taken."""
    from distributed import KilledWorker  # noqa: PLC0415 -- as above
    from distributed.comm import CommClosedError  # noqa: PLC0415

    futures = [client.submit(function, *each, pure=False) for each in arguments]
    futures.reverse()
    try:
        with tqdm(total=len(futures), unit=" files", disable=None, leave=False) as bar:
            while futures:
                yield futures.pop().result()
                bar.update(1)
    except (KilledWorker, CommClosedError, CancelledError, TimeoutError) as error:
        raise ClusterError(f"the cluster failed at work: {_line(error)}. {LOOK}") from None


LOOK: Final = "Look at the workers' logs (too little memory is likely) and run it again: nothing was stored"


@fit.boost.register(Spread)
def _boost(
    train: Spread,
    weight: Floats,
    settings: dict[str, Any],
    cut: int,
    rounds: int,
    base: Any = None,
    hints: Dataset | None = None,
) -> tuple[Any, list[float]]:
    """As `fit.boost`. `lightgbm.dask` cannot stop early, so all rounds are made, and the same rule finds the best after."""
    if hints is not None:
        raise ClusterError("workers learn from votes alone, and not from implicit evidence")
    booster = _grown(train.take(np.arange(cut)), weight[:cut], settings, rounds, base)
    if cut == len(train):
        return booster, []
    known = 0 if base is None else int(base.num_trees())
    curve = _curve(train.take(np.arange(cut, len(train))), weight[cut:], booster, known)
    booster.best_iteration = known + _best(curve, fit.PATIENCE)
    return booster, curve


def _best(curve: Sequence[float], patience: int) -> int:
    """After how many rounds LightGBM's own early stopping would have seen the least loss."""
    best = 0
    for place, loss in enumerate(curve):
        if loss < curve[best]:
            best = place
        elif place - best >= patience:
            break
    return best + 1


def _grown(part: Spread, weight: Floats, settings: dict[str, Any], rounds: int, base: Any) -> Any:
    """LightGBM's booster, grown by all workers."""
    import lightgbm  # noqa: PLC0415 -- heavy, and needs libgomp: only where a model is made

    told = logging.getLogger("lightgbm")
    told.setLevel(logging.ERROR)  # it would print which of its defaults it leaves out
    lightgbm.register_logger(told)
    ours = {name: value for name, value in settings.items() if name != "num_threads"}  # a worker has its own
    model = lightgbm.DaskLGBMRegressor(client=part.source.client, n_estimators=rounds, time_out=MINUTES, **ours)
    x, label, weights = _arrays(part, weight)
    try:
        model.fit(x, label, sample_weight=weights, feature_name=list(FEATURES), init_model=base)
    except (lightgbm.basic.LightGBMError, RuntimeError, OSError, CancelledError) as error:
        raise ClusterError(f"the fit failed on the cluster: {_line(error)}. {LOOK}") from None
    text: str = model.to_local().booster_.model_to_string(num_iteration=-1)
    return lightgbm.Booster(model_str=_NETWORK.sub("", text))  # addresses are nobody's business, and differ each time


def _arrays(part: Spread, weight: Floats) -> tuple[Any, Any, Any]:
    """Dask arrays of observations, labels and weights, dealt out evenly: every worker must have a share to take part."""
    import dask.array as da  # noqa: PLC0415 -- as above
    from dask import delayed  # noqa: PLC0415

    client = part.source.client
    columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for (path, rows, places), worker in zip(part.pieces(), cycle(sorted(client.ncores())), strict=False):
        x = client.submit(partitions.observations, path, rows, workers=[worker], pure=False)
        columns[0].append(da.from_delayed(delayed(x), (len(rows), len(FEATURES)), np.float32))
        for column, values in ((columns[1], part.label[places]), (columns[2], weight[places])):
            column.append(
                da.from_delayed(delayed(client.scatter(values, workers=[worker])), values.shape, values.dtype)
            )
    return da.concatenate(columns[0]), da.concatenate(columns[1]), da.concatenate(columns[2])


def _curve(part: Spread, weight: Floats, booster: Any, known: int) -> list[float]:
    """The weighted mean log-loss after each round beyond the first `known`."""
    text = booster.model_to_string(num_iteration=-1)
    shares = [(text, known, path, rows, part.label[places], weight[places]) for path, rows, places in part.pieces()]
    losses = np.sum(list(part.source.run(losses_of, shares)), axis=0) / weight.sum()
    return [float(loss) for loss in losses]


def losses_of(text: str, known: int, path: Path, rows: Places, label: Floats, weight: Floats) -> Floats:
    """Of a file's rows: the sum of weighted losses after each round beyond the first `known`. Runs in a worker."""
    import lightgbm  # noqa: PLC0415 -- as above

    booster = lightgbm.Booster(model_str=text)
    leaves = booster.predict(partitions.observations(path, rows), pred_leaf=True, num_iteration=-1, num_threads=1)
    raw, found = np.zeros(len(rows)), []
    for tree, at in enumerate(np.asarray(leaves, dtype=np.intp).reshape(len(rows), -1).T):
        raw += np.array([booster.get_leaf_output(tree, leaf) for leaf in range(int(at.max()) + 1)])[at]
        if tree >= known:
            found.append(float((weight * (np.logaddexp(0.0, raw) - label * raw)).sum()))
    return np.array(found)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
