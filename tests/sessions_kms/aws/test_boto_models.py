"""boto's models are what boto's own loader gives, and are looked for without a walk."""

import json
from collections.abc import Iterator
from pathlib import Path

import botocore.loaders
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError

from sessions_kms.aws import clients
from sessions_kms.aws.boto_models import Models

MODEL = "service-2"


@pytest.fixture
def models() -> Models:
    return Models(like=botocore.loaders.create_loader())


@pytest.mark.parametrize("service", ["dynamodb", "kms", "sts", "sso"])
@pytest.mark.parametrize("kind", [MODEL, "endpoint-rule-set-1", "paginators-1"])
def test_model_is_the_one_that_boto_reads_in_the_same_order(
    service: str, kind: str, models: Models
) -> None:
    of_boto = botocore.loaders.create_loader().load_service_model(service, kind)
    assert json.dumps(models.load_service_model(service, kind)) == json.dumps(of_boto)


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration"])
def test_data_of_no_service_is_the_same(name: str, models: Models) -> None:
    of_boto = botocore.loaders.create_loader().load_data(name)
    assert json.dumps(models.load_data(name)) == json.dumps(of_boto)


def test_newest_model_in_a_folder_of_the_projects_own_counts(tmp_path: Path) -> None:
    folder = tmp_path / "dynamodb" / "2999-01-01"
    folder.mkdir(parents=True)
    (folder / f"{MODEL}.json").write_text('{"theirs": "é"}', encoding="utf-8")
    models = Models(like=botocore.loaders.create_loader(str(tmp_path)))
    assert models.load_service_model("dynamodb", MODEL)["theirs"] == "é"


def test_folders_of_services_are_not_walked(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    iterdir = Path.iterdir

    def looking(path: Path) -> Iterator[Path]:
        looked.append(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", looking)
    models.load_service_model("kms", MODEL)
    assert set(map(str, looked)) <= set(models.search_paths)


def test_service_that_is_unknown_is_told_as_by_boto(tmp_path: Path) -> None:
    models = Models(like=botocore.loaders.create_loader(str(tmp_path / "nowhere")))
    with pytest.raises(UnknownServiceError, match="no_service"):
        models.load_service_model("no_service", MODEL)
    with pytest.raises(DataNotFoundError):
        models.load_service_model("kms", "no_kind-1")


def test_clients_are_made_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", "~/models")
    clients.reset()
    loader = clients._session().get_component("data_loader")
    clients.reset()
    assert isinstance(loader, Models)
    assert loader.search_paths[0] == str(Path("~/models").expanduser())
