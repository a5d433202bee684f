"""The service models equal those of boto's loader, as plain dicts."""

import json
from pathlib import Path

import botocore.loaders
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError

from sessions_kms.aws import clients
from sessions_kms.aws.boto_session import PlainDictLoader
from tests.support.cases import each_case

MODEL = "service-2"


def loader(search_path: str | None = None) -> botocore.loaders.Loader:
    created = botocore.loaders.create_loader(search_path)
    created.file_loader = PlainDictLoader()
    return created


@each_case("service", ["dynamodb", "kms", "sts", "sso"])
@each_case("kind", [MODEL, "endpoint-rule-set-1", "paginators-1"])
def test_model_equals_botos_in_the_same_order(service: str, kind: str) -> None:
    model = loader().load_service_model(service, kind)
    of_boto = botocore.loaders.create_loader().load_service_model(service, kind)
    assert json.dumps(model) == json.dumps(of_boto)
    assert type(model) is dict


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration"])
def test_data_of_no_service_is_the_same(name: str) -> None:
    of_boto = botocore.loaders.create_loader().load_data(name)
    assert json.dumps(loader().load_data(name)) == json.dumps(of_boto)


def test_newest_model_in_a_folder_of_the_project_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "dynamodb" / "2999-01-01"
    folder.mkdir(parents=True)
    (folder / f"{MODEL}.json").write_text('{"theirs": "é"}', encoding="utf-8")
    model = loader(str(tmp_path)).load_service_model("dynamodb", MODEL)
    assert model["theirs"] == "é"


def test_unknown_service_raises_as_with_boto(tmp_path: Path) -> None:
    models = loader(str(tmp_path / "nowhere"))
    with pytest.raises(UnknownServiceError, match="no_service"):
        models.load_service_model("no_service", MODEL)
    with pytest.raises(DataNotFoundError):
        models.load_service_model("kms", "no_kind-1")


def test_clients_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", "~/models")
    clients.reset()
    used = clients._session().get_component("data_loader")
    clients.reset()
    assert isinstance(used.file_loader, PlainDictLoader)
    assert used.search_paths[0] == str(Path("~/models").expanduser())
