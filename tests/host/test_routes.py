"""The pack's routes on a real host: what they answer, and every way round that they refuse."""

import sys
from pathlib import Path

import pytest
from caller import BYTES, JSON, refused

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
CHANGES = [*(f"/jobs/1/{word}" for word in ("pause", "resume", "cancel", "delete")), "/jobs"]
QUESTIONS = [
    *("/folders", "/jobs", "/jobs/1", "/jobs/1/photos", "/token"),
    *(f"/jobs/1/{name}" for name in ("result.zip", "report.csv", "report.html")),
    *(f"/photos/1/{name}" for name in ("before", "after", "output")),
]


def test_one_process_has_the_jobs(web):
    refused(web.locked_out, 409, "Another ComfyUI")
    assert web.ask("/jobs").status == 200


# Folders


def test_the_allowed_folders_are_listed(web):
    roots = web.ask("/folders").json["roots"]
    assert roots == [
        {"name": "input", "path": str(web.input), "write": True},
        {"name": "output", "path": str(web.output), "write": True},
        {"name": "photos", "path": str(web.photos), "write": False},
    ]


@POSIX
def test_a_folder_is_looked_into_as_a_scan_does(web):
    links = {"out": web.home / "secret", "again": "trip", "key.jpg": "../secret/key.jpg"}
    for name, to in links.items():
        (web.photos / name).symlink_to(to)
    found = web.ask("/folders/inside", path=web.photos).json
    below = {"name": "trip", "path": str(web.photos / "trip")}
    assert found == {"path": str(web.photos), "parent": None, "folders": [below], "photos": 1}
    assert web.ask("/folders/inside", path=below["path"]).json["parent"] == str(web.photos)
    found = web.ask("/folders/count", path=web.photos).json
    size = sum((web.photos / name).stat().st_size for name in ("b.jpg", "trip/c d.png"))
    why = "it is a link that leads out of the folder"
    links = [["key.jpg", why], ["out", why]]
    assert found == {"count": 2, "bytes": size, "left_out": links, "complete": True}
    found = web.ask("/folders/count", path=web.photos, without=web.photos / "trip").json
    assert found["count"] == 1


@pytest.mark.parametrize("route", ["/folders/inside", "/folders/count", "source", "target"])
@pytest.mark.parametrize(
    ("path", "says", "helps"),
    [
        ("", "no path", False),
        ("photos", "no full path", False),
        ("{home}/photos/../secret", "goes up", False),
        ("{home}/photos/trip/..", "goes up", False),
        ("{home}/photos\0", "no path", False),
        ("{home}/secret", "not in a folder", True),
        ("{home}/nowhere", "not in a folder", True),
        ("{home}/photosecret", "not in a folder", True),
        ("{home}", "not in a folder", True),
        ("/", "not in a folder", True),
    ],
)
def test_what_is_not_allowed_is_refused(web, route, path, says, helps):
    path = path.replace("{home}", str(web.home))
    write = " --write" if route == "target" else ""
    if route.startswith("/"):
        answer = web.ask(route, path=path)
    else:
        answer = web.start("never", **{route: path})
    told = refused(answer, 400, says)
    assert told.get("command") == (f"python run.py allow {path}{write}" if helps else None)
    known = {"error", "command"} if helps else {"error"}
    assert set(told) == known and not (web.output / "never").exists()


@POSIX
@pytest.mark.parametrize("route", ["/folders/inside", "/folders/count", "source", "target"])
def test_links_are_no_way_out(web, route):
    place = web.input / "linked" / route.strip("/").replace("/", "-")
    place.mkdir(parents=True)
    texts = set()
    for name, to in {"there": web.home / "secret", "not there": web.home / "nowhere"}.items():
        (place / name).symlink_to(to)
        path = str(place / name)
        answer = (
            web.ask(route, path=path)
            if route.startswith("/")
            else web.start("never", **{"source": str(web.photos), route: path})
        )
        texts.add(refused(answer, 400, "not in a folder")["error"].replace(path, "X"))
        assert str(web.home / "secret") not in answer.body.decode()
    assert len({text.replace("'X'", "X") for text in texts}) == 1


def test_inside_the_allowed_folders_errors_are_plain(web):
    for route in ("/folders/inside", "/folders/count"):
        refused(web.ask(route, path=web.photos / "none"), 400, "There is no folder")
        refused(web.ask(route, path=web.photos / "b.jpg"), 400, "There is no folder")
        refused(web.ask(route), 400, "no path")
    refused(web.ask("/folders/count", path=web.photos, without="/etc"), 400, "not in a folder")
    told = refused(web.start("x", target=str(web.photos / "results")), 400, "read but not written")
    assert told["command"] == f"python run.py allow {web.photos / 'results'} --write"
    refused(web.start("x", source=str(web.output), target=str(web.output)), 400, "another output")
    (web.output / "file").touch()
    refused(web.start("x", target=str(web.output / "file")), 400, "is a file")


# Who may ask


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "photos.example:8188", "Origin": "http://evil.example"},
        {"Host": "photos.example:8188", "Origin": "http://photos.example:9000"},
        {"Host": "photos.example:8188", "Origin": "null"},
    ],
)
def test_pages_of_other_sites_are_refused(web, job, headers):
    before = web.ask(f"/jobs/{job}").json
    for path in CHANGES:
        refused(web.post(path, headers), 403, "Another site's page")
    refused(web.ask("/drop", b"x", {**BYTES, **headers}, batch="a", path="a.jpg"), 403, "Another")
    for path in QUESTIONS:
        for root in ("/restoreflow", "/api/restoreflow"):  # the host serves all twice
            refused(web.ask(path, headers=headers, root=root), 403, "Another site's page")
    assert web.ask(f"/jobs/{job}").json == before
    assert not (web.input / "restoreflow" / "a").exists()


def test_the_hosts_own_pages_and_commands_are_answered(web):
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": web.host.url},
        {"Sec-Fetch-Site": "none"},
        {"Host": "Photos.example:8188", "Origin": "http://photos.example:8188"},
    ):
        assert web.ask("/jobs", headers=headers).status == 200
        assert web.ask("/jobs", headers=headers, root="/api/restoreflow").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_changes_are_asked_for_by_post_only(web, job, method):
    before = web.ask("/jobs").json
    for path in CHANGES[:-1]:
        assert web.ask(path, headers=JSON, method=method).status in (404, 405)
    answer = web.ask("/drop", method=method, headers=BYTES, batch="a", path="a.jpg")
    assert answer.status in (404, 405)
    assert web.ask("/jobs").json == before


def test_a_change_is_an_object_in_json(web, job):
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        for path in CHANGES:
            headers = {"Content-Type": kind} if kind else {}
            refused(web.ask(path, b"{}", headers), 415, "application/json")
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000):
        refused(web.ask("/jobs", body, JSON), 400, "an object in JSON")
    kind = {"Content-Type": "application/json; charset=utf-8"}
    assert web.ask(f"/jobs/{job}/pause", b"{}", kind).status == 200


def test_what_is_not_there_is_not_found(web, job):
    for number in (10**6, 10**17):
        for path in CHANGES[:-1]:
            refused(web.post(path.replace("/1/", f"/{number}/")), 404, f"no job {number}")
        for path in [path for path in QUESTIONS if "/1" in path]:
            refused(web.ask(path.replace("/1", f"/{number}")), 404, f"{number}")
    for odd in ("-1", "1.0", "x", "9" * 30, "%2e%2e", "1;"):
        assert web.ask(f"/jobs/{odd}").status == 404
        assert web.ask(f"/photos/{odd}/before").status == 404


# The token of this machine


def test_the_token_opens_any_folder_to_who_can_read_it(web):
    file = Path(web.ask("/token").json["file"])
    assert file == web.own / "token"
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600
    token = {"X-RestoreFlow-Token": file.read_text()}
    places = {"source": str(web.home / "secret"), "target": str(web.home / "made")}
    number = web.start("ours", token, **places).json["job"]["id"]
    assert web.settled(number)["counts"] == {"done": 1}
    assert (web.home / "made" / "key_restored.jpg").is_file()
    photo = web.ask(f"/jobs/{number}/photos").json["photos"][0]["id"]
    for name in ("before", "after", "output"):
        assert web.ask(f"/photos/{photo}/{name}", headers=token).status == 200
        refused(web.ask(f"/photos/{photo}/{name}"), 400, "not in a folder")
    refused(web.ask(f"/jobs/{number}/result.zip"), 400, "not in a folder")
    refused(web.post(f"/jobs/{number}/resume"), 400, "not in a folder")
    assert web.post(f"/jobs/{number}/resume", token).status == 200
    for path in ("secret", "../secret", ""):
        refused(web.start("never", token, source=path), 400)


def test_a_wrong_token_or_one_from_elsewhere_opens_nothing(web):
    right = Path(web.ask("/token").json["file"]).read_text()
    source = {"source": str(web.home / "secret")}
    for wrong in ("", right[:-1], f"{right}0", right[::-1], "ü"):
        refused(web.start("never", {"X-RestoreFlow-Token": wrong}, **source), 403, "this machine's")
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        handed_on = {"X-RestoreFlow-Token": right, header: "127.0.0.1"}
        refused(web.start("never", handed_on, **source), 403, "this machine's")
        refused(web.ask("/token", headers={header: "127.0.0.1"}), 403, "on the machine itself")
    assert not (web.output / "never").exists()
