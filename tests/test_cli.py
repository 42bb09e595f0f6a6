"""The command line, end to end on real files, and what it says when something is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax
from expmax.cli import main
from expmax.data.files import read_file

DATA = Path(__file__).parents[1] / "examples" / "data"
FAITHFUL = str(DATA / "faithful.csv")
DEATHS = str(DATA / "london_deaths.csv")


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


def run(*argv: object) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in argv])
    return Ran(status, out.getvalue(), err.getvalue())


def ran(*argv: object) -> Ran:
    done = run(*argv)
    assert done.status == 0, done.err
    assert done.err == ""
    return done


def refused(*argv: object) -> str:
    """The message: one line, exit status 2, nothing on standard output."""
    done = run(*argv)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("expmax: error: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    return done.err


def table(tmp_path: Path, text: str, name: str = "data.csv") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    folder = tmp_path_factory.mktemp("faithful")
    done = ran(
        "fit", FAITHFUL, "--history", "--out", folder / "model.json", "--labels", folder / "l.csv"
    )
    return done, folder


# ----------------------------------------------------------------------------------- Old Faithful
# K = 2, full covariances: log-likelihood −1130.26396, BIC 2322.192 (mclust's VVV,2: −2322.192).


def test_old_faithful_has_two_components(faithful: tuple[Ran, Path]) -> None:
    out = faithful[0].out
    assert "eruptions  real     Gaussian" in out
    assert "waiting    integer  Gaussian" in out
    (chosen,) = [line for line in out.splitlines() if line.startswith(" → ")]
    assert chosen.split() == ["→", "2", "-1130.26", "11", "2322.19", "2322.70", "converged"]
    assert "Mixture of 2 components: Gaussian (full)" in out
    assert "How the log-likelihood rose" in out


def test_output_fits_eighty_columns(faithful: tuple[Ran, Path]) -> None:
    text = faithful[0].out.replace(str(faithful[1]), "")
    assert max(map(len, text.splitlines())) <= 80
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_the_model_file_holds_the_known_fit(faithful: tuple[Ran, Path]) -> None:
    model = expmax.load(faithful[1] / "model.json")
    assert_allclose(model.log_likelihood_, -1130.26396, atol=1e-4)
    assert_allclose(model.bic(), 2322.192, atol=1e-3)
    assert list(model.feature_names_in_) == ["eruptions", "waiting"]
    assert_allclose(model.params_["mean"][0], [2.03639, 54.47852], atol=1e-3)


def test_a_model_from_the_command_line_takes_data_frames(faithful: tuple[Ran, Path]) -> None:
    import pandas as pd

    frame = pd.read_csv(FAITHFUL)
    model = expmax.load(faithful[1] / "model.json")
    assert model.predict(frame).shape == (272,)


def test_labels_say_row_component_and_probability(faithful: tuple[Ran, Path]) -> None:
    lines = (faithful[1] / "l.csv").read_text().splitlines()
    assert lines[0] == "row,component,probability"
    rows = np.array([line.split(",") for line in lines[1:]], float)
    model = expmax.load(faithful[1] / "model.json")
    r = model.predict_proba(read_file(FAITHFUL))
    assert_allclose(rows[:, 0], np.arange(272))
    assert_allclose(rows[:, 1], r.argmax(axis=1))
    assert_allclose(rows[:, 2], r.max(axis=1), rtol=1e-8)


def test_show_prints_the_same_summary(faithful: tuple[Ran, Path]) -> None:
    shown = ran("show", faithful[1] / "model.json").out
    assert shown in faithful[0].out
    with_history = ran("show", faithful[1] / "model.json", "--history").out
    assert with_history in faithful[0].out


def test_predict_assigns_rows_by_name_whatever_the_order_of_columns(
    faithful: tuple[Ran, Path], tmp_path: Path
) -> None:
    data = table(tmp_path, "waiting,id,eruptions\n50,a,1.9\n82,b,4.4\n")
    model = faithful[1] / "model.json"
    lines = ran("predict", model, data).out.splitlines()
    assert lines[0] == "row,component,probability"
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "0"], ["1", "1"]]
    proba = ran("predict", model, data, "--proba").out.splitlines()
    assert proba[0] == "row,component,probability,component_0,component_1"
    assert_allclose(sum(map(float, proba[1].split(",")[3:])), 1.0, atol=1e-8)


def test_predict_writes_a_file_or_json(faithful: tuple[Ran, Path], tmp_path: Path) -> None:
    model = faithful[1] / "model.json"
    said = ran("predict", model, FAITHFUL, "--out", tmp_path / "out.csv").out
    assert said.startswith("272 rows →")
    assert (tmp_path / "out.csv").read_text() == (faithful[1] / "l.csv").read_text()
    found = ran("predict", model, FAITHFUL, "--json", "--proba").json
    assert found["format"] == "expmax-predict"
    assert len(found["component"]) == len(found["probabilities"]) == 272
    assert_allclose(sum(found["log_density"]), -1130.26396, atol=1e-4)


def test_json_is_one_complete_document(faithful: tuple[Ran, Path]) -> None:
    found = ran("fit", FAITHFUL, "--components", "1:2", "--json").json
    assert found["format"] == "expmax-fit"
    assert [column["family"] for column in found["columns"]] == ["Gaussian", "Gaussian"]
    assert [one["n_components"] for one in found["candidates"]] == [1, 2]
    assert found["best"] == 1
    model = found["model"]
    assert_allclose(model["log_likelihood"], -1130.26396, atol=1e-4)
    assert np.shape(model["components"][0]["parameters"]["covariance"]) == (2, 2)
    assert model["history"]["step"][-1] == "end"
    assert len(model["history"]["elbo"]) == len(model["history"]["step"])
    shown = ran("show", faithful[1] / "model.json", "--json").json
    assert shown["format"] == "expmax-show"
    assert shown["status"] == model["status"]


def test_the_same_seed_gives_the_same_output() -> None:
    words = ("fit", FAITHFUL, "--components", "2", "--seed", "7", "--json")
    assert ran(*words).out == ran(*words, "--threads", "2").out


def test_columns_by_name_and_position() -> None:
    by_name = ran("fit", FAITHFUL, "--columns", "waiting", "--components", "2").out
    assert by_name == ran("fit", FAITHFUL, "--columns", "1", "--components", "2").out
    assert "eruptions" not in by_name


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    done = ran("fit", FAITHFUL, "--components", "1", "--quiet", "--out", tmp_path / "m.json")
    assert done.out == ""
    assert expmax.load(tmp_path / "m.json").n_components == 1


def test_covariance_structures_compete() -> None:
    done = ran("fit", FAITHFUL, "--components", "2,3", "--covariance", "full,tied,spherical")
    chosen = next(line for line in done.out.splitlines() if line.startswith(" → "))
    assert chosen.split()[1:6] == ["3", "tied", "-1126.32", "11", "2314.30"]  # mclust's EEE,3
    assert "Gaussian (tied)" in done.out


def test_rows_left_out_and_bootstrap_tests_choose() -> None:
    words = ("fit", FAITHFUL, "--columns", "waiting", "--components", "1:3", "--effort", "quick")
    done = ran(*words, "--criterion", "cv", "--cv", "3")
    assert "Candidates by CV" in done.out
    assert "nats a row for the best" in " ".join(done.out.split())
    found = ran(*words, "--criterion", "cv", "--cv", "3", "--json").json
    assert (found["criterion"], found["chosen_by"], found["interrupted"]) == ("cv", "cv", False)
    held_out = [one["held_out"] for one in found["candidates"]]
    assert found["best"] == int(np.argmax(held_out))
    tests = ("--criterion", "lrt", "--n-bootstrap", "9", "--alpha", "0.1")
    done = ran(*words, *tests)
    assert "Chosen by bootstrap likelihood-ratio tests: Gaussian, K = 2" in done.out
    found = ran(*words, *tests, "--json").json
    assert found["tests"][0]["rejected"] is True
    assert found["tests"][0]["p_value"] == 0.1
    assert found["best"] == 1  # two modes: one component is rejected, two are not


def test_all_structures_make_a_table() -> None:
    done = ran("fit", FAITHFUL, "--components", "1:2", "--covariance", "all", "--effort", "quick")
    for name in ("EII", "VVV", "EVE", "K = 2"):
        assert name in done.out
    assert max(map(len, done.out.splitlines())) <= 80


# ------------------------------------------------------------------------------------ other files


def test_counts_with_a_column_of_frequencies() -> None:
    # Hasselblad (1969); two Poisson components: log-likelihood −1989.94586, rates 1.2561 and 2.6634
    found = ran("fit", DEATHS, "--weights", "freq", "--components", "1:3", "--json").json
    assert [(c["column"], c["family"]) for c in found["columns"]] == [("count", "Poisson")]
    assert found["best"] == 1
    model = found["model"]
    assert_allclose(model["log_likelihood"], -1989.94586, atol=1e-3)
    assert model["total_weight"] == 1096
    rates = [component["parameters"]["rate"] for component in model["components"]]
    assert_allclose(rates, [1.2561, 2.6634], rtol=1e-2)


def test_an_index_and_texts_that_name_rows_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{i},name {i},{'ab'[i % 2]},{rng.normal(i % 2 * 9):.3f}" for i in range(60)]
    data = table(tmp_path, "\n".join(["id,name,kind,size", *rows]))
    found = ran("fit", data, "--components", "1:2", "--json").json
    chosen = {column["column"]: column["family"] for column in found["columns"]}
    assert chosen == {"id": None, "name": None, "kind": "Categorical", "size": "Gaussian"}
    assert found["best"] == 1
    assert found["model"]["categories"] == {"kind": ["a", "b"]}


def test_categories_are_printed_by_name(tmp_path: Path) -> None:
    text = "colour,n\n" + "red,1\nred,2\nred,0\nblue,9\nblue,12\ngreen,10\n" * 15
    done = run("fit", table(tmp_path, text), "--components", "2", "--labels", tmp_path / "l.csv")
    assert done.status == 0
    for words in ("= red", "= blue", "= green", "rate"):
        assert words in done.out
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 91


def test_an_unseen_category_is_warned_of_and_named(tmp_path: Path) -> None:
    data = table(tmp_path, "colour\n" + "red\nred\nblue\n" * 15)
    ran("fit", data, "--components", "1", "--quiet", "--out", tmp_path / "m.json")
    new = table(tmp_path, "colour\nred\nmauve\n", "new.csv")
    done = run("predict", tmp_path / "m.json", new)
    assert done.status == 2
    assert "warning: column 'colour'" in done.err
    assert "mauve" in done.err
    assert "error: row 1 has probability zero" in done.err


def test_missing_cells_make_the_gaussian_diagonal(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f}" for a, b in rng.normal([[0, 0], [6, 6]] * 40)]
    rows[3] = f"NA,{rows[3].split(',')[1]}"
    data = table(tmp_path, "\n".join(["a,b", *rows]))
    out = ran("fit", data, "--components", "2").out
    assert "Gaussian (diag)" in out
    assert "1 cell missing" in out
    said = refused("fit", data, "--components", "2", "--covariance", "full")
    assert "'a'" in said or "column 0" in said
    assert "row 3" in said
    assert "covariance='diag'" in said


def test_families_by_column(tmp_path: Path) -> None:
    rows = [f"{40 + i % 7}.5,{i % 4},{i % 2},{i}" for i in range(70)]
    data = table(tmp_path, "\n".join(["age,visits,sex,id", *rows]))
    words = ("fit", data, "--components", "1", "--json", "--family")
    found = ran(*words, "age=gaussian,visits=negative-binomial").json
    chosen = {column["column"]: column["family"] for column in found["columns"]}
    assert chosen == {"age": "Gaussian", "visits": "NegativeBinomial"}
    joint = ran(*words, "age+visits=gaussian", "--columns", "sex").json
    assert "('age', 'visits')" in joint["model"]["components"][0]["family"]
    assert ran(*words, "gaussian", "--columns", "age,visits").json["model"]["n_parameters"] == 5


def test_parquet_files_are_read(tmp_path: Path) -> None:
    import pandas as pd

    pd.read_csv(FAITHFUL).to_parquet(tmp_path / "f.parquet")
    found = ran("fit", tmp_path / "f.parquet", "--components", "2", "--json").json
    assert_allclose(found["model"]["log_likelihood"], -1130.26396, atol=1e-4)


def test_candidates_that_fail_are_told_with_their_reason(tmp_path: Path) -> None:
    data = table(tmp_path, "x\n" + "".join(f"{x}\n" for x in (0.5, 0.5, 0.5, 1.25, 7.5)))
    done = ran("fit", data, "--components", "1,6")
    assert "K = 6: n_components=6 needs at least as many rows" in done.out
    found = ran("fit", data, "--components", "1,6", "--json").json
    assert found["candidates"][1]["error"] == "DataError"


# -------------------------------------------------------------------------------------- bad input


def test_bad_files(tmp_path: Path) -> None:
    assert "no file" in refused("fit", tmp_path / "none.csv")
    assert "is empty" in refused("fit", table(tmp_path, ""))
    assert "only a header" in refused("fit", table(tmp_path, "a,b\n"))
    assert "directory" in refused("fit", tmp_path)
    assert "line 3" in refused("fit", table(tmp_path, "a,b\n1,2\n3\n"))
    constant = table(tmp_path, "a,b\n1,x\n1,x\n")
    assert "no column of data.csv is left" in refused("fit", constant)


def test_data_that_a_family_refuses(tmp_path: Path) -> None:
    text = table(tmp_path, "size,kind\n1.5,a\n2.5,b\n3.5,a\n")
    assert "'kind' of data.csv holds text" in refused("fit", text, "--family", "gaussian")
    negative = table(tmp_path, "n\n1\n-3\n2\n")
    said = refused("fit", negative, "--family", "poisson", "--components", "1")
    assert "holds -3 (row 1)" in said
    assert "Poisson" in said


def test_columns_that_are_not_there() -> None:
    assert "did you mean 'waiting'" in refused("fit", FAITHFUL, "--columns", "waitin")
    assert "no column 7" in refused("fit", FAITHFUL, "--columns", "7")
    assert "twice" in refused("fit", FAITHFUL, "--columns", "waiting,waiting")
    assert "empty name" in refused("fit", FAITHFUL, "--columns", "waiting,")
    assert "no column" in refused("fit", FAITHFUL, "--weights", "freq")
    assert "no column" in refused("fit", FAITHFUL, "--family", "x=gaussian")


@pytest.mark.parametrize("words", ["0", "3:1", "a", "1:", "1,,2", "-1", "2.5", "1:100000"])
def test_malformed_components(words: str) -> None:
    assert "--components must be like" in refused("fit", FAITHFUL, f"--components={words}")


def test_bad_weights(tmp_path: Path) -> None:
    data = table(tmp_path, "x,w,t\n1.5,1,a\n2.5,-1,b\n3.5,,c\n")
    assert "no weight in row 2" in refused("fit", data, "--weights", "w")
    assert "holds text" in refused("fit", data, "--weights", "t")
    data = table(tmp_path, "x,w\n1.5,1\n2.5,-1\n")
    assert "weight -1 (row 1)" in refused("fit", data, "--weights", "w")
    assert "no column beside" in refused("fit", table(tmp_path, "w\n1\n2\n"), "--weights", "w")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--family", "gausian"], "Did you mean gaussian?"),
        (["--family", "product"], "--family must be"),
        (["--family", "eruptions=gaussian,waiting"], "--family must be"),
        (["--family", "waiting=gaussian,waiting=poisson"], "a column twice"),
        (["--covariance", "round"], "--covariance must be among"),
        (["--covariance", "full", "--family", "exponential"], "needs a Gaussian or Student"),
        (["--criterion", "dic"], "--criterion must be one of bic, aic, icl, cv, lrt"),
        (["--cv", "3"], "--cv belongs to --criterion cv; the criterion is bic"),
        (["--criterion", "cv", "--alpha", "0.1"], "--alpha belongs to --criterion lrt"),
        (["--criterion", "cv", "--cv", "1"], "cv must be an integer of at least 2"),
        (["--criterion", "lrt", "--n-bootstrap", "9"], "n_bootstrap must be at least 19"),
        (["--criterion", "lrt", "--alpha", "2"], "alpha must be a number between 0 and 1"),
        (["--criterion", "lrt", "--components", "2"], "one number only is given"),
        (["--seed", "-1"], "--seed must be"),
        (["--seed", "x"], "invalid int value"),
        (["--threads", "0"], "--threads must be"),
        (["--effort", "huge"], "effort must be one of"),
        (["--out", "/no/such/folder/model.json"], "--out must be a file in a directory"),
        (["--labels", "/no/such/folder/l.csv"], "--labels must be a file in a directory"),
        (["--colums", "a"], "unrecognized arguments"),
    ],
)
def test_bad_arguments(words: list[str], message: str) -> None:
    assert message in refused("fit", FAITHFUL, *words)


def test_usage() -> None:
    assert "COMMAND" in refused()
    assert "invalid choice" in refused("fti", FAITHFUL)
    assert ran("--version").out == f"expmax {expmax.__version__}\n"
    assert "--components" in ran("fit", "--help").out
    assert max(map(len, ran("fit", "--help").out.splitlines())) <= 80


def test_models_that_do_not_fit_the_data(faithful: tuple[Ran, Path], tmp_path: Path) -> None:
    model = faithful[1] / "model.json"
    assert "no file" in refused("show", tmp_path / "none.json")
    assert "not a model file" in refused("show", FAITHFUL)
    assert "no column 'waiting'" in refused("predict", model, table(tmp_path, "eruptions\n1.5\n"))
    assert "3 columns and the model 2" in refused("predict", model, table(tmp_path, "1,2,3\n"))
    by_position = ran("predict", model, tmp_path / "data.csv", "--columns", "0,2")
    assert len(by_position.out.splitlines()) == 2


def test_interruption_and_closed_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    from expmax import commands

    def stop(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "show", stop)
    done = run("show", "model.json")
    assert (done.status, done.out, done.err) == (130, "", "expmax: interrupted\n")

    def closed(arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(commands, "show", closed)
    done = run("show", "model.json")
    assert (done.status, done.out, done.err) == (141, "", "")


def test_an_interrupt_prints_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from expmax.selection import sweep

    first, begun = sweep._first, []

    def interrupt(grid: object, k: int) -> None:
        begun.append(k)
        if k == 3:
            raise KeyboardInterrupt
        first(grid, k)

    monkeypatch.setattr(sweep, "_first", interrupt)
    words = ("fit", FAITHFUL, "--components", "1:4")
    done = run(*words, "--out", tmp_path / "model.json")
    assert done.status == 130
    assert done.err == "expmax: interrupted: this is the best so far\n"
    assert "INTERRUPTED: the best so far, by BIC" in done.out
    assert "K = 3, 4: not fitted: interrupted" in done.out
    assert "NOT converged (interrupted)" in done.out
    assert max(map(len, done.out.replace(str(tmp_path), "").splitlines())) <= 80
    saved = expmax.load(tmp_path / "model.json")
    assert (saved.n_components, saved.status_) == (2, "interrupted")
    assert begun == [1, 2, 3]
    found = run(*words, "--json")
    assert found.status == 130
    assert found.json["interrupted"] is True
    assert [one.get("status") for one in found.json["candidates"][:2]] == ["interrupted"] * 2
    assert [one.get("message") for one in found.json["candidates"][2:]] == [
        "not fitted: interrupted"
    ] * 2


def test_an_interrupt_before_anything_was_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    from expmax.selection import sweep

    def interrupt(grid: object, k: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "_first", interrupt)
    done = run("fit", FAITHFUL, "--components", "1:4")
    assert (done.status, done.out, done.err) == (130, "", "expmax: interrupted\n")


def test_the_command_as_a_process(faithful: tuple[Ran, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "expmax"]
    shown = subprocess.run(
        [*command, "show", str(faithful[1] / "model.json")],
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8", "PATH": ""},
        check=True,
    )
    assert shown.stdout in faithful[0].out
    assert shown.stderr == ""
    failed = subprocess.run(
        [*command, "show", str(tmp_path / "none.json")], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("expmax: error: there is no file")
