"""What a run found, for people and as JSON."""

from __future__ import annotations

from typing import Any

TOP = 8  # features shown


def render(report: dict[str, Any]) -> str:
    """The report as text of some twenty lines."""
    data = report["data"]
    lines = [
        f"episodes with votes      {data['episodes']} ({data['false_positives']} false positives, {data['real']} real)",
    ]
    if data["skipped"]:
        lines.append(f"left out                 {data['skipped']} seen by other features than today's")
    if "split" in report:
        split = report["split"]
        lines.append(
            f"split                    {split['train']} to learn, {split['validation']} to prove, {split['method']}"
        )
    if found := report.get("fit", {}).get("hints"):
        lines.append(
            f"hints without a vote     {found['acknowledged']} acknowledged, {found['left_alone']} left alone, weight {found['weight']:.0f} in all"
        )
    if "metrics" in report:
        lines += _metrics(report["metrics"], report.get("champion"))
        lines += ["", "what it looks at:"]
        lines += [f"  {share:6.1%}  {name}" for name, share in list(report["importance"].items())[:TOP]]
    if "certificate" in report:
        lines += ["", *(_granted(name, report["certificate"][name]) for name in ("hold", "suppress"))]
    if "floors" in report:
        lines += _floors(report["floors"])
    if "drift" in report:
        lines += _drift(report["drift"])
    if report["audit"]["incidents"]["trials"]:
        lines.append(f"audit sample             {_share(report['audit']['incidents'])} of its incidents were real")
        lines.append(
            f"missed                   {_share(report['audit']['missed'])} of the real clusters told to nobody"
        )
        lines.append(
            f"reduction                {_share(report['audit']['reduction'])} of the false clusters told to nobody"
        )
    lines += ["", *(f"warning: {warning}" for warning in report["warnings"])]
    if report["refused"]:
        lines += ["refused, the model in service stays:", *(f"  - {reason}" for reason in report["refused"])]
    else:
        lines.append(f"passed the gate: {report['version']}")
    return "\n".join(lines) + "\n"


def _granted(name: str, grant: dict[str, Any]) -> str:
    """What the certificate allows, or what it lacks."""
    tested = f"{grant['missed']} of {grant['clusters']} real clusters late or lost, at most {grant['bound']:.1%} with {grant['confidence']:.1%} confidence (look {grant['look']})"
    if grant["threshold"] is not None:
        return f"{name:<24} from a score of {grant['threshold']:.2f} on: {tested}"
    if grant["look"] == 0:
        return f"{name:<24} nothing yet: {grant['clusters']} real clusters are known, {grant['needed']} more are needed"
    return f"{name:<24} nothing: at the highest score {tested}, {grant['budget']:.1%} is allowed; next look after {grant['needed']} more"


def _floors(floors: dict[str, Any]) -> list[str]:
    """The floors that votes have set for single alertnames, those with most votes first."""
    names = sorted(floors["names"].items(), key=lambda each: (-each[1]["samples"], each[0]))
    counted = f"own score floors         {len(names)} alertnames with {floors['min_samples']} votes or more; for others {floors['usual']:.2f}"
    more = [f"  and {len(names) - TOP} more"] if len(names) > TOP else []
    return [counted, *(f"  {name}: {_own(found)}" for name, found in names[:TOP]), *more]


def _own(found: dict[str, Any]) -> str:
    floor = "no score proves it" if found["floor"] is None else f"from {found['floor']:.2f} on, where certified"
    return f"{floor}: {found['noise']} of {found['incidents']} incidents were noise, at least {found['bound']:.0%}, {found['samples']} votes"


def _drift(drift: dict[str, Any]) -> list[str]:
    """What has changed lately; one line when nothing has."""
    alarms = [("all alertnames", drift["all"]), *drift["names"].items()]
    lines = [f"  {name}: {said}" for name, found in alarms for said in found["alarms"]]
    counted = f"drift                    {len(lines)} alarms, {len(drift['names'])} alertnames could be compared"
    return [counted, *lines]


def _metrics(metrics: dict[str, Any], champion: dict[str, Any] | None) -> list[str]:
    lines = [f"log-loss                 {metrics['log_loss']:.4f}{_beside(champion, 'log_loss')}"]
    lines.append(f"calibration error        {metrics['calibration_error']:.3f}{_beside(champion, 'calibration_error')}")
    if "roc_auc" not in metrics:
        return lines
    lines.append(
        f"area under ROC, PR       {metrics['roc_auc']:.3f}, {metrics['pr_auc']:.3f}{_beside(champion, 'roc_auc')}"
    )
    at = metrics["at_threshold"]
    lines.append(
        f"at {at['threshold']:.2f} and above        {_share(at['recall'])} of the false positives,"
        f" {_share(at['real_hidden'])} of the real alerts"
    )
    for name, part in (("all", metrics), *metrics["by_severity"].items()):
        lines.append(f"\n{name}: {part['false_positives']} false positives, {part['real']} real alerts")
        for recall, found in part.get("suppressed", {}).items():
            lines.append(
                f"  keeping {float(recall):.0%} of real   {_share(found['false_positives'])} of false positives gone"
            )
    return lines


def _beside(champion: dict[str, Any] | None, name: str) -> str:
    return "" if champion is None or champion.get(name) is None else f" (the champion: {champion[name]:.4f})"


def _share(found: dict[str, Any]) -> str:
    if found["share"] is None:
        return "nothing known"
    return f"{found['share']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"
