"""What comes back for photos, in every form in which they can be sent."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.trainer.serving.conftest import StartService
from tests.trainer.serving.running import CLASSES, RunningService, make_photo


@pytest.mark.parametrize("colour", CLASSES)
def test_a_photo_as_the_body(service: RunningService, colour: str):
    answer = service.post(make_photo(colour)).json()
    (photo,) = answer["photos"]
    assert photo["classes"][0]["name"] == colour
    assert sum(one["probability"] for one in photo["classes"]) == pytest.approx(1, abs=1e-5)
    assert answer["model"]["id"] == "colours/litert-none"


def test_several_photos_keep_their_order_and_names(service: RunningService):
    files = [("photo", (f"{colour}.png", make_photo(colour))) for colour in CLASSES * 3]
    answer = service.client.post(f"{service.url}/v1/predict", files=files, timeout=60).json()
    assert [photo["name"] for photo in answer["photos"]] == [f"{name}.png" for name in CLASSES * 3]
    assert [photo["classes"][0]["name"] for photo in answer["photos"]] == [*CLASSES * 3]


def test_photos_in_json(service: RunningService):
    data = base64.b64encode(make_photo("blue")).decode()
    sent = {"photos": [{"data": data, "name": "one"}, {"data": data}]}
    photos = service.client.post(f"{service.url}/v1/predict", json=sent).json()["photos"]
    assert [photo["classes"][0]["name"] for photo in photos] == ["blue", "blue"]
    assert [photo.get("name") for photo in photos] == ["one", None]


def test_top_k_cuts_the_list_and_may_exceed_it(service: RunningService):
    for asked, expected in ((1, 1), (2, 2), (1000, 3)):
        (photo,) = service.post(make_photo(), query=f"?top_k={asked}").json()["photos"]
        assert len(photo["classes"]) == expected


def test_activation_shows_where_the_colour_is(service: RunningService):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:, 0] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    (photo,) = service.post(file.getvalue(), query="?activation=true").json()["photos"]
    assert photo["classes"][0]["name"] == "red"
    grid = np.array(photo["classes"][0]["activation"])
    assert grid.shape == (4, 4)
    assert grid[:, 3].min() > grid[:, 0].max()


def test_box_is_what_the_network_saw(service: RunningService):
    (photo,) = service.post(make_photo(size=(40, 30))).json()["photos"]
    assert (photo["width"], photo["height"]) == (40, 30)
    assert photo["box"] == [5, 0, 35, 30]


def test_one_bad_photo_does_not_cost_the_others_theirs(service: RunningService):
    files = [("photo", ("good.png", make_photo("green"))), ("photo", ("bad.png", b"no photo"))]
    response = service.client.post(f"{service.url}/v1/predict", files=files, timeout=60)
    good, bad = response.json()["photos"]
    assert response.status_code == 200
    assert good["classes"][0]["name"] == "green"
    assert bad["status"] == 422
    assert "classes" not in bad


def test_metrics_count_requests_photos_and_batches(service: RunningService):
    name = 'serve_requests_total{path="/v1/predict",status="200"}'
    before = service.metric(name), service.metric("serve_batch_photos_count")
    service.post(make_photo())
    assert service.metric(name) == before[0] + 1
    assert service.metric("serve_batch_photos_count") == before[1] + 1
    assert service.metric("serve_queue_photos") == 0


def test_how_long_a_photo_takes_is_known_before_the_first_one(start_service: StartService):
    """Else a first crowd is let in whole on a machine that cannot answer it in time."""
    assert 0 < start_service().metric("serve_seconds_per_photo") < 10


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/model", "/openapi.json", "/docs", "/"]
)
def test_paths_for_operators_and_people_answer(service: RunningService, path: str):
    assert service.client.get(service.url + path).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/"])
def test_watchers_may_ask_for_the_head_only(service: RunningService, path: str):
    response = service.client.head(service.url + path)
    assert response.status_code == 200
    assert response.content == b""


def test_every_reference_of_the_openapi_document_leads_somewhere(service: RunningService):
    document = service.client.get(f"{service.url}/openapi.json").json()
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))
    assert references
    for reference in references:
        start, *names = reference.split("/")
        assert start == "#", reference
        place = document
        for name in names:
            place = place[name]


def test_refusals_are_described_as_they_come(service: RunningService):
    paths = service.client.get(f"{service.url}/openapi.json").json()["paths"]
    responses = paths["/v1/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "408", "413", "415", "422", "429", "503"}
    for status, response in responses.items():
        kind = "application/json" if status == "200" else "application/problem+json"
        assert list(response["content"]) == [kind], status


def test_pages_name_no_other_host(service: RunningService):
    for path in ("/", "/docs", "/pages/page.css", "/pages/page.js", "/pages/docs.js"):
        assert "//" not in service.client.get(service.url + path).text.replace("// ", ""), path
