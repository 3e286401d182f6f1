"""Time intervals: what a real Alertmanager accepts is accepted, and nothing else."""

from __future__ import annotations

import subprocess

import pytest

from sidecar.config.load import loads
from sidecar.errors import ConfigError
from tests.servers import find_program

ELEMENTS = """weekdays: ['monday:friday']
weekdays: [monday:friday, Sunday]
weekdays: ['saturday:monday']
weekdays: ['mon']
weekdays: [1]
weekdays: []
weekdays: 'monday'
weekdays:
days_of_month: ['1:5']
days_of_month: [1:5]
days_of_month: [1, -1, '+2', '03']
days_of_month: ['-3:-1']
days_of_month: ['-3:5']
days_of_month: ['1:-1']
days_of_month: ['10:-25']
days_of_month: ['0']
days_of_month: ['32']
days_of_month: ['31:-1']
days_of_month: ['']
months: ['may:august']
months: [1:3, 7, December]
months: ['august:may']
months: ['13']
months: ['maio']
months: ['1:2:3']
months: [' may']
years: ['2026:2028', 2030]
years: [2028:2026]
years: ['x']
times: [{start_time: 09:00, end_time: 17:00}]
times: [{start_time: 17:00, end_time: 24:00}]
times: [{start_time: '9:00', end_time: '17:00'}]
times: [{start_time: '17:00', end_time: '09:00'}]
times: [{start_time: '17:00', end_time: '17:00'}]
times: [{start_time: '17:00'}]
times: [{start_time: '17:00', end_time: '24:01'}]
times: []
location: Europe/Berlin
location: Nowhere/City
location: Local
location: ''
location: utc
foo: bar""".splitlines()


@pytest.mark.parametrize("element", ELEMENTS)
def test_an_element_is_taken_exactly_where_alertmanager_takes_it(tmp_path, element: str):
    section = f"time_intervals:\n- name: x\n  time_intervals:\n  - {element}\n"
    route = "route: {receiver: a, routes: [{receiver: a, active_time_intervals: [x]}]}\nreceivers: [{name: a}]\n"
    (tmp_path / "alertmanager.yml").write_text(route + section)
    argv = [find_program("amtool"), "check-config", str(tmp_path / "alertmanager.yml")]
    theirs = subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0
    try:
        ours = bool(loads(section).time_intervals)
    except ConfigError as refused:
        ours = False
        (problem,) = refused.problems
        assert problem[0].startswith("time_intervals[0].time_intervals[0].")
        assert all(problem)  # where, what is wrong, and what to write
    assert ours is theirs
