"""A workdir belongs to one config, and every method in it to one definition."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import BRIEF, QUIET, StopHere, begun, small, stopped_after, write_pictures

from imbal_jax import train
from imbal_jax.decisions.default_criterion import AT_THRESHOLDS, RANKING
from imbal_jax.errors import InputError
from imbal_jax.methods import LOSSES, METHODS, Method, definition, find_method, trained_methods
from imbal_jax.runs.address import find_run
from imbal_jax.runs.claim import check_claim, claim, read_claim, read_methods
from imbal_jax.training import stage

NOWHERE = Path("pictures")


def of(*methods: Method):
    return small(NOWHERE, methods=methods)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("ce", {"loss": "focal"}, "loss is cross_entropy there and focal here"),
        ("ce", {"head": "cosine"}, "head is linear there and cosine here"),
        ("crt", {"second_epochs": 4.0}, r"second_epochs is [\d.]+ there and 4.0 here"),
        ("focal", {"options": (("gamma", 1.0),)}, "options.gamma is 2.0 there and 1.0 here"),
        ("threshold_moving", {"correction": "none"}, "correction is threshold there and none here"),
        ("mixup", {"mixing_alpha": 0.4}, "mixing_alpha is 1.0 there and 0.4 here"),
        ("stratified", {"composition": (0.5, 0.5)}, r"composition is balanced there and \[0.5, 0.5\] here"),
    ],
)
def test_another_definition_under_the_same_name_is_refused(
    name: str, changes: dict, said: str, tmp_path: Path
) -> None:
    claim(tmp_path, of(METHODS[name]))
    begun(tmp_path, name)
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=rf"holds another method called {name} \(.*{said}.*\): give this"
    ) as e:
        claim(
            tmp_path,
            of(METHODS["stratified" if name != "stratified" else "ce"], replace(METHODS[name], **changes)),
        )
    assert "\n" not in str(e.value)
    assert contents(tmp_path) == before


def test_words_and_defaults_that_are_written_out_change_nothing(tmp_path: Path) -> None:
    claim(tmp_path, of(METHODS["focal"]))
    claim(tmp_path, of(replace(METHODS["focal"], summary="Other words.", options=(("gamma", 2.0),))))
    assert definition(METHODS["mixup"]) == definition(replace(METHODS["mixup"], mixing_alpha=1.0))


def test_a_method_stays_claimed_while_others_are_added(tmp_path: Path) -> None:
    claim(tmp_path, of(METHODS["ce"]))
    begun(tmp_path, "ce")
    claim(tmp_path, of(METHODS["focal"]))
    assert [method.name for method in read_claim(tmp_path).methods] == ["ce", "focal"]
    with pytest.raises(InputError, match="another method called ce"):
        claim(tmp_path, of(replace(METHODS["ce"], weights="inverse")))


def test_a_default_of_the_package_that_has_changed_is_another_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path, of(METHODS["focal"]))
    begun(tmp_path, "focal")
    monkeypatch.setitem(LOSSES, "focal", replace(LOSSES["focal"], options={"gamma": 1.0}))
    with pytest.raises(InputError, match=r"options.gamma is 2.0 there and 1.0 here"):
        claim(tmp_path, of(METHODS["focal"]))


def test_a_first_stage_is_never_another_method_of_the_same_name(tmp_path: Path) -> None:
    edited = replace(METHODS["ce"], weights="inverse")
    assert set(trained_methods((METHODS["crt"],))) == {"ce", "crt"}
    assert trained_methods((edited, METHODS["crt"])).keys() == {"ce", "crt", "crt_first_stage"}
    claim(tmp_path, of(METHODS["crt"]))
    begun(tmp_path, "ce")
    with pytest.raises(InputError, match="another method called ce"):
        claim(tmp_path, of(edited))
    of_its_name = replace(edited, name="crt_first_stage")
    with pytest.raises(InputError, match="two methods called crt_first_stage train differently"):
        trained_methods((of_its_name, edited, METHODS["crt"]))


def test_a_first_stage_is_read_back_as_it_was_trained(finished_runs: Path, tmp_path: Path) -> None:
    mine = find_method("mislas,second_loss=cross_entropy")
    claim(tmp_path, of(mine))
    (name,) = read_methods(tmp_path).keys() - {mine.name}
    read = read_methods(tmp_path)[name]
    assert (read.mixing, read.second_stage, definition(read)) == (
        mine.mixing,
        "none",
        definition(trained_methods((mine,))[name]),
    )
    assert find_run(finished_runs / "ce").method == "ce"


def test_runs_finished_or_not_are_left_alone_by_an_edited_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(write_pictures(tmp_path / "pictures"), methods=(METHODS["ce"],))
    work = tmp_path / "work"
    edited = replace(config, methods=(replace(METHODS["ce"], head="cosine", loss="ldam"),))
    stopped_after(1, monkeypatch)
    with pytest.raises(StopHere):
        train.fit(config, work, console=QUIET)
    monkeypatch.undo()
    before = contents(work)
    with pytest.raises(InputError, match="another method called ce"):
        train.fit(edited, work, console=QUIET)
    assert contents(work) == before
    train.fit(config, work, console=QUIET)
    before = contents(work)
    with pytest.raises(InputError, match="another method called ce"):
        train.fit(edited, work, console=QUIET)
    assert contents(work) == before


def test_checkpoints_of_another_network_are_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(write_pictures(tmp_path / "pictures"), methods=(METHODS["ce"],))
    work = tmp_path / "work"
    stopped_after(1, monkeypatch)
    with pytest.raises(StopHere):
        train.fit(config, work, console=QUIET)
    monkeypatch.undo()
    before = contents(work / "ce" / "seed0")
    wider = replace(config.model, options={"width": 8, "stages": 2})
    real = stage.build_network
    monkeypatch.setattr(
        stage, "build_network", lambda config, method, data: real(replace(config, model=wider), method, data)
    )
    with pytest.raises(
        InputError,
        match=r"checkpoints of another training \(.*is float32 \[.*\] there and float32 \[.*\] here",
    ) as caught:
        train.fit(config, work, console=QUIET)
    assert "\n" not in str(caught.value)
    assert contents(work / "ce" / "seed0") == before


def test_the_report_covers_every_run_of_the_workdir(tmp_path: Path) -> None:
    config = small(write_pictures(tmp_path / "pictures"), methods=(METHODS["ce"],))
    config = replace(config, train=replace(config.train, epochs=BRIEF, evaluations=1))
    train.fit(config, tmp_path / "w", console=QUIET)
    later = train.fit(replace(config, methods=(METHODS["stratified"],)), tmp_path / "w", console=QUIET)
    assert [result.method for result in later] == ["stratified"]
    values = json.loads((tmp_path / "w" / "results.json").read_text())
    assert [run["method"] for run in values["runs"]] == ["ce", "stratified"]


def test_a_claim_without_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    claim(tmp_path, of(METHODS["ce"], METHODS["focal"]))
    mended = replace(of(METHODS["ce"]), seed=3)
    claim(tmp_path, mended)
    assert read_claim(tmp_path).seed == 3
    assert [method.name for method in read_claim(tmp_path).methods] == ["ce"]
    begun(tmp_path, "ce")
    with pytest.raises(
        InputError, match="ask for further seeds of the same config with --seeds 0 in place of --seed"
    ):
        claim(tmp_path, of(METHODS["ce"]))
    # a method that has no checkpoint may still be defined otherwise
    claim(tmp_path, replace(mended, methods=(METHODS["focal"],)))
    claim(tmp_path, replace(mended, methods=(replace(METHODS["focal"], options=(("gamma", 1.0),)),)))
    begun(tmp_path, "focal")
    with pytest.raises(InputError, match="another method called focal"):
        claim(tmp_path, replace(mended, methods=(METHODS["focal"],)))


def test_the_default_criterion_is_that_of_the_claim_and_no_other(tmp_path: Path) -> None:
    default = of(METHODS["ce"])
    assert default.select == "auto"
    claim(tmp_path, replace(default, select=RANKING))
    begun(tmp_path, "ce")
    check_claim(tmp_path, default)  # which of the two, the data will say
    with pytest.raises(InputError, match="select was average_precision, is sensitivity"):
        claim(tmp_path, replace(default, select=AT_THRESHOLDS))
    claim(tmp_path / "other", replace(default, select="auroc"))
    begun(tmp_path / "other", "ce")
    check_claim(
        tmp_path / "other", default
    )  # tasks have defaults of their own: it is claimed once it is known
    with pytest.raises(InputError, match="select was auroc, is average_precision"):
        claim(tmp_path / "other", replace(default, select=RANKING))


def test_the_seeds_of_a_workdir_may_grow(tmp_path: Path) -> None:
    claim(tmp_path, replace(of(METHODS["ce"]), seeds=(2, 1)))
    begun(tmp_path, "ce")
    claim(tmp_path, replace(of(METHODS["ce"]), seeds=(5,)))
    assert read_claim(tmp_path).seeds == (1, 2, 5)


def test_a_value_of_a_claim_that_is_out_of_its_range_names_the_file(tmp_path: Path) -> None:
    claim(tmp_path, of(METHODS["ce"]))
    values = json.loads((tmp_path / "config.json").read_text())
    values["data"]["image_size"] = "x"
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"config.json: data.image-size is 'x', expected a whole number"):
        read_claim(tmp_path)


def test_a_run_of_before_an_option_came_goes_on_unless_it_is_changed(tmp_path: Path) -> None:
    config = of(METHODS["ce"])
    claim(tmp_path, config)
    begun(tmp_path, "ce")
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    del values["episode"], values["patch"], values["data"]["enrolled"], values["data"]["sequence"]
    path.write_text(json.dumps(values))
    assert read_claim(tmp_path).data == config.data
    claim(tmp_path, config)
    path.write_text(json.dumps(values))
    other = replace(config, data=replace(config.data, sequence="repeat_copy"))
    with pytest.raises(InputError, match=r"data.sequence was copy, is repeat_copy"):
        claim(tmp_path, other)
