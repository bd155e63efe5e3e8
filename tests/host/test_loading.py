"""The pack in a real ComfyUI: it loads without a word."""

import re

from environment import SCRIPTS


def test_the_log_holds_the_import_time_and_nothing_else(host):
    ours = re.compile(rf"custom_nodes.restoreflow|{re.escape(str(SCRIPTS.parent))}[/\\]")
    loading, _, _ = host.log.read_text().partition("To see the GUI go to")
    lines = [line for line in loading.splitlines() if ours.search(line)]
    assert len(lines) == 1 and re.match(r" +[\d.]+ seconds: ", lines[0]), lines
