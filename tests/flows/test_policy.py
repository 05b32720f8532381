"""flows/policy.py: which government decision concerns which price, and from which day."""

from datetime import UTC, date, datetime

import pytest

from flows.catalog import load_catalog
from flows.errors import CatalogError
from flows.policy import (
    HEAVY,
    MEDIUM,
    RARE_EARTHS,
    elements_named,
    elements_priced,
    read_policy_decisions,
)
from forecasting.series import PolicyEvent

HEADER = "date,end_date,date_precision,direction,materials\n"


def written(folder, *rows: str, header: str = HEADER):
    file = folder / "policy_events.csv"
    file.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("materials", "elements"),
    [
        ("all REE", RARE_EARTHS),
        ("REE, W, Mo", RARE_EARTHS),
        ("REE/magnets", RARE_EARTHS),
        ("REE incl.", RARE_EARTHS),
        ("heavy REE", HEAVY),
        ("Dy, Tb", {"Dy", "Tb"}),
        ("NdPr", {"Nd", "Pr"}),
        ("Ho,Er,Tm,Eu,Yb + tech + 0.1% rule", {"Ho", "Er", "Tm", "Eu", "Yb"}),
        ("Sm,Gd,Tb,Dy,Lu,Sc,Y", {"Sm", "Gd", "Tb", "Dy", "Lu", "Sc", "Y"}),
        ("dy, TB", {"Dy", "Tb"}),
        ("ndpr", {"Nd", "Pr"}),
        ("Dysprosium and terbium", {"Dy", "Tb"}),
        ("Neodymium-praseodymium oxide", {"Nd", "Pr"}),
        ("REEs", RARE_EARTHS),
        ("all Rare Earths", RARE_EARTHS),
        ("rare-earth elements", RARE_EARTHS),
        ("heavy REEs", HEAVY),
        ("medium and heavy rare earths", HEAVY | MEDIUM),
        ("rare-earth magnets", set()),
        ("Neodymium magnets", set()),
        ("graphite", set()),
        ("antimony and heavy metals", set()),
        ("NdFeB", set()),
        ("magnets", set()),
        ("Ga, Ge", set()),
        ("critical minerals", set()),
        ("dual-use", set()),
    ],
)
def test_materials_name_elements_by_symbol_by_name_or_as_a_group(materials, elements):
    assert elements_named(materials) == elements


def test_every_rare_earth_can_be_written_by_its_english_name():
    names = (
        "scandium yttrium lanthanum cerium praseodymium neodymium samarium europium gadolinium "
        "terbium dysprosium holmium erbium thulium ytterbium lutetium"
    )
    assert elements_named(names.replace(" ", ", ")) == RARE_EARTHS
    assert all(len(elements_named(name)) == 1 for name in names.split())


@pytest.mark.parametrize(
    ("series", "elements"),
    [
        ("dy_oxide", {"Dy"}),
        ("nd_oxide_month_mean", {"Nd"}),
        ("ndpr_oxide_year", {"Nd", "Pr"}),
        ("y_oxide", {"Y"}),
        ("yb_metal", {"Yb"}),
        ("eu_carbon", set()),
        ("mine_output_world", set()),
        ("cn_magnet_exports", set()),
        ("dyed_oxide", set()),
    ],
)
def test_the_name_of_a_price_says_its_elements(series, elements):
    assert elements_priced(series) == elements


def test_a_date_that_is_known_to_the_month_counts_from_its_last_day(tmp_path):
    file = written(
        tmp_path,
        "2024-02-10,,month,tighten,all REE",
        "2025-06-11,,week,loosen,Dy",
        "2025-04-04,,day,tighten,Dy",
        "2025-04-05,,,tighten,Dy",
    )
    assert [one.on for one in read_policy_decisions(file)] == [
        date(2024, 2, 29),
        date(2025, 4, 4),
        date(2025, 4, 5),
        date(2025, 6, 15),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("2025-13-04,,day,tighten,Dy", "row 3: date: '2025-13-04' is no date"),
        (",,day,tighten,Dy", "row 3: date: '' is no date"),
        ("2025-04-04,,day,ease,Dy", "row 3: direction: 'ease' is not one of tighten, loosen"),
        ("2025-04-04,,day,,Dy", "row 3: direction: '' is not one of"),
        ("2025-04-04,,year,tighten,Dy", "row 3: date_precision: 'year' is not one of day"),
        ("2025-04-04,,day,tighten,", "row 3: materials: is empty"),
        ("2025-04-04,,day,tighten,Dy,Tb", "row 3: more fields than the header"),
        ("2025-04-04", "row 3: direction: '' is not one of"),
    ],
)
def test_a_row_that_can_not_be_used_is_named_with_file_row_and_field(tmp_path, row, says):
    file = written(tmp_path, "2025-01-01,,day,neutral,Dy", row)
    with pytest.raises(CatalogError) as caught:
        read_policy_decisions(file)
    assert f"policy_events.csv: {says}" in str(caught.value)


def test_a_missing_column_and_a_file_that_is_no_text_are_named(tmp_path):
    with pytest.raises(CatalogError, match=r"policy_events\.csv: the column direction is missing"):
        read_policy_decisions(written(tmp_path, header="date,date_precision,materials\n"))
    file = tmp_path / "policy_events.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match=r"policy_events\.csv: can't be read"):
        read_policy_decisions(file)


def test_a_file_with_semicolons_is_told_which_separator_it_needs(tmp_path):
    file = written(tmp_path, "2025-04-04;;day;tighten;Dy, Tb", header=HEADER.replace(",", ";"))
    with pytest.raises(CatalogError) as caught:
        read_policy_decisions(file)
    assert str(caught.value) == "policy_events.csv: the separator must be a comma, not ';'"


def own_catalog(folder):
    written(
        folder,
        "2025-04-04,,day,tighten,Dy",
        "2025-05-01,,day,loosen,all REE",
        "2025-05-02,,day,neutral,Dy",
        "2025-05-03,,day,unknown,Dy",
        "2025-05-04,,day,tighten,Tb",
    )
    return load_catalog(snapshot_dir=folder)


def test_a_series_gets_the_decisions_that_push_its_price_and_no_others(tmp_path):
    events = own_catalog(tmp_path).policy_events("dy_oxide", datetime(2026, 1, 1, tzinfo=UTC))
    assert events == (
        PolicyEvent(date(2025, 4, 4), is_tightening=True),
        PolicyEvent(date(2025, 5, 1), is_tightening=False),
    )


def test_a_decision_is_not_known_before_its_day(tmp_path):
    catalog = own_catalog(tmp_path)
    assert not catalog.policy_events("dy_oxide", datetime(2025, 4, 3, 23, 59, 59, tzinfo=UTC))
    assert len(catalog.policy_events("dy_oxide", datetime(2025, 4, 4, tzinfo=UTC))) == 1


def test_what_is_no_price_of_a_rare_earth_has_no_policy_events(tmp_path):
    catalog = own_catalog(tmp_path)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert {name for name in catalog.series if catalog.policy_events(name, now)} == {
        name for name, entry in catalog.series.items() if entry.kind == "price" and "_oxide" in name
    }


def test_the_licences_of_april_2025_concern_dysprosium_and_terbium_but_not_neodymium():
    catalog = load_catalog()
    now = datetime(2025, 6, 21, tzinfo=UTC)
    licences = PolicyEvent(date(2025, 4, 4), is_tightening=True)
    told = {
        name: licences in catalog.policy_events(f"{name}_oxide", now) for name in ("dy", "tb", "nd")
    }
    assert told == {"dy": True, "tb": True, "nd": False}


# --- as readers hear of it ---------------------------------------------------------------------------

WORDY = "date,date_precision,actor,type,direction,what,materials,source,confidence\n"


def acts(folder, *rows: str, header: str = WORDY, on: str = "2026-01-01"):
    file = written(folder, *rows, header=header)
    assert file.exists()
    return load_catalog(snapshot_dir=folder).policy_acts(
        datetime.fromisoformat(f"{on}T00:00:00+00:00")
    )


@pytest.mark.parametrize(
    ("actor", "kind", "materials", "title"),
    [
        ("China", "export_control", "Sm,Gd,Tb", "China: export control on Sm, Gd, Tb"),
        (
            "China",
            "export_control",
            "Sm,Gd,Tb,Dy,Lu",
            "China: export control on Sm, Gd, Tb, Dy, …",
        ),
        ("China", "export_control", "other", "China: export control"),
        ("", "export_control", "Dy", "Export control on Dy"),
        ("China", "", "Dy", "China: decision on Dy"),
    ],
)
def test_a_title_says_who_decided_what_about_which_materials(
    tmp_path, actor, kind, materials, title
):
    (act,) = acts(tmp_path, f'2025-04-04,day,{actor},{kind},tighten,x,"{materials}",s,high')
    assert act.title == title
    assert act.materials == materials


def test_an_act_holds_the_words_of_its_row(tmp_path):
    (act,) = acts(
        tmp_path,
        '2025-04-04,day,China,export_control,tighten,"Licences, at once","Dy,Tb",MOFCOM,high',
    )
    assert (act.kind, act.direction, act.known_on) == (
        "export_control",
        "tighten",
        date(2025, 4, 4),
    )
    assert (act.detail, act.source, act.confidence) == ("Licences, at once", "MOFCOM", "high")
    assert act.elements == ("Dy", "Tb")


def test_a_file_without_the_words_for_readers_still_has_acts(tmp_path):
    (act,) = acts(tmp_path, "2025-04-04,,day,tighten,Dy", header=HEADER)
    assert (act.title, act.kind, act.source) == ("Decision on Dy", "", "")


def test_acts_are_those_known_at_the_moment_oldest_first(tmp_path):
    rows = [
        f"{on},{precision},China,quota,tighten,x,Dy,s,high"
        for on, precision in (("2025-05-01", "day"), ("2025-04-10", "month"), ("2025-04-04", "day"))
    ]
    assert [one.known_on.day for one in acts(tmp_path, *rows, on="2025-05-01")] == [4, 30, 1]
    assert [one.known_on.day for one in acts(tmp_path, *rows, on="2025-04-29")] == [4]


ROW = {
    "date": "2025-04-04",
    "date_precision": "day",
    "actor": "China",
    "type": "quota",
    "direction": "tighten",
    "what": "x",
    "materials": "Dy",
    "source": "s",
    "confidence": "high",
}


def row(**changes: str) -> str:
    return ",".join({**ROW, **changes}.values())


@pytest.mark.parametrize(
    "corrected",
    [
        {"what": "said better", "direction": "loosen"},
        {"type": "export_control"},
        {"materials": "Tb"},
        {"source": "Announcement 18", "confidence": "low"},
        {"actor": "CHINA"},
        {"date_precision": "month"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_identity_of_an_act_outlives_a_correction_of_its_row(tmp_path, corrected):
    (first,), (second,) = acts(tmp_path, row()), acts(tmp_path, row(**corrected))
    assert first.act.startswith("policy-2025-04-04-")
    assert second.act == first.act


def test_acts_of_another_day_or_actor_are_others(tmp_path):
    found = acts(tmp_path, row(), row(actor="India"), row(date="2025-04-05"))
    assert len({one.act for one in found}) == 3


def test_rows_in_another_order_keep_their_identities_where_day_and_actor_are_theirs_alone(tmp_path):
    rows = [row(), row(actor="India", what="y"), row(date="2025-04-05", what="z")]
    before, after = acts(tmp_path, *rows), acts(tmp_path, *reversed(rows))
    assert {one.detail: one.act for one in before} == {one.detail: one.act for one in after}
    assert len(before) == 3


def test_acts_of_one_day_and_actor_are_numbered_in_the_order_of_the_file(tmp_path):
    # Sorted by direction they stand the other way round: the number is that of the file.
    rows = [row(what="first", direction="tighten"), row(what="second", direction="loosen")]
    found = {one.detail: one.act for one in acts(tmp_path, *rows)}
    alone = acts(tmp_path, rows[0])[0].act
    assert found == {"first": alone, "second": f"{alone}-2"}


def test_every_shipped_decision_has_an_identity_of_its_own_and_a_title_that_fits():
    found = load_catalog().policy_acts(datetime(2027, 1, 1, tzinfo=UTC))
    assert len({one.act for one in found}) == len(found) > 40
    assert all(0 < len(one.title) <= 80 for one in found)
    assert all(len(one.act) <= 80 for one in found)
