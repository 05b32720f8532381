from pathlib import Path

import pytest

from flows.errors import CatalogError
from flows.sources.declared import Declared, load_declared
from flows.sources.keys import KeyPlace

DROP = """
[csv_drop.smm]
path = "drops/*.csv"
kind = "price"
title = "SMM export"
confidence = "medium"
period = "Date"
"""
COLUMN = """
[[csv_drop.smm.column]]
column = "Avg"
series = "nd_oxide"
unit = "CNY/t"
"""
API = """
[http_json.vendor]
url = "https://api.vendor.example/v1/prices"
kind = "price"
title = "Vendor"
confidence = "medium"
period = "date"
"""
FIELD = """
[[http_json.vendor.column]]
column = "price"
series = "nd_oxide"
unit = "USD/kg"
"""
ROWS = """
[csv_drop.smm.rows]
value = "Value"
names = "Product"
unit = "CNY/t"
series = {"Nd oxide" = "nd_oxide"}
"""


def load(folder: Path, text: str, **options: object) -> Declared:
    file = folder / "sources.toml"
    file.write_text(text, encoding="utf-8")
    return load_declared(file, **options)  # type: ignore[arg-type]


def test_no_file_declares_no_source(tmp_path: Path) -> None:
    assert load_declared(tmp_path / "sources.toml") == Declared()


def test_a_drop_knows_its_folder_columns_and_layout(tmp_path: Path) -> None:
    (drop,) = load(tmp_path, DROP + 'ignore = ["Remark"]\ndelimiter = "tab"\n' + COLUMN).csv_drops
    assert (drop.name, drop.kind, drop.folder) == ("smm", "price", tmp_path)
    assert drop.layout.columns == ("Date", "Avg")
    assert (drop.layout.delimiter, drop.layout.refuses_others) == ("\t", True)
    assert drop.reuse == "terms not stated"
    assert not drop.is_address


def test_other_columns_are_refused_only_by_those_who_list_what_may_be_there(tmp_path: Path) -> None:
    (drop,) = load(tmp_path, DROP + COLUMN).csv_drops
    assert not drop.layout.refuses_others
    (drop,) = load(tmp_path, DROP + 'other_columns = "refuse"\n' + COLUMN).csv_drops
    assert drop.layout.refuses_others


def test_an_interface_knows_its_key_and_its_pages(tmp_path: Path) -> None:
    text = API + 'params = {limit = 100}\nkey = {header = "X-Api-Key"}\n'
    declared = load(tmp_path, text + 'next_page = {param = "page", step = 100}\n' + FIELD)
    (api,) = declared.http_jsons
    assert (api.params, api.key) == ({"limit": "100"}, KeyPlace(header="X-Api-Key"))
    assert api.page is not None
    assert (api.page.param, api.page.start, api.page.step) == ("page", 1, 100)
    assert declared.key_names == {"vendor"}


def test_a_key_that_nobody_asks_for_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    declared = load(tmp_path, API + "key = {bearer = true}\n" + FIELD)
    assert declared.unused_keys(["vendor"]) == ()
    assert declared.unused_keys(["vendor", "vendr"]) == (
        "LODESTONE_KEY_VENDR: no source in sources.toml asks for it; "
        "did you mean LODESTONE_KEY_VENDOR?",
    )
    assert "none is asked for" in Declared().unused_keys(["vendor"])[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "[csv_drp.smm]\n",
            "csv_drp: there is no such kind of source; did you mean csv_drop?",
            id="door",
        ),
        pytest.param(
            "csv_drop = 3\n",
            "csv_drop: is a table of tables, written [csv_drop.NAME]",
            id="no table",
        ),
        pytest.param(
            "[csv_drop]\npath = 'x'\n", "csv_drop: path: stands outside a source", id="no name"
        ),
        pytest.param("csv_drop = \n", "not valid TOML", id="no TOML"),
        pytest.param(
            DROP.replace("smm", "SMM") + COLUMN, "csv_drop.SMM: name: small letters", id="name"
        ),
        pytest.param(
            DROP.replace("title", "titel") + COLUMN,
            "csv_drop.smm: titel: there is no such field; did you mean title?",
            id="field",
        ),
        pytest.param(
            DROP.replace('title = "SMM export"\n', "") + COLUMN,
            "csv_drop.smm: missing: title",
            id="missing",
        ),
        pytest.param(
            DROP.replace('"price"', '"prices"') + COLUMN,
            "kind: 'prices' is not one of price, trade, reference",
            id="kind",
        ),
        pytest.param(
            DROP.replace('"medium"', '"good"') + COLUMN,
            "confidence: 'good' is not one of high, medium",
            id="confidence",
        ),
        pytest.param(DROP.replace('"drops/*.csv"', '""') + COLUMN, "path: is empty", id="no path"),
        pytest.param(
            DROP.replace("drops/*.csv", "ftp://smm.example/x.csv") + COLUMN,
            "path: is no address that begins with https://",
            id="ftp",
        ),
        pytest.param(
            DROP.replace("drops/*.csv", "http://smm.example/x.csv") + COLUMN,
            "path: is no address that begins with https://",
            id="in the clear",
        ),
        pytest.param(
            DROP + "key = {bearer = true}\n" + COLUMN,
            "key: only an address is asked with a key",
            id="key for a file",
        ),
        pytest.param(DROP, "column: say which columns are read", id="nothing is mapped"),
        pytest.param(DROP + COLUMN + ROWS, "column: say which columns are read", id="mapped twice"),
        pytest.param(DROP + "column = []\n", "column: is empty", id="no column"),
        pytest.param(DROP + "column = 3\n", "column: is a list of tables", id="column is no table"),
        pytest.param(
            DROP + COLUMN + COLUMN,
            "series: 'nd_oxide' is read from another column already",
            id="series twice",
        ),
        pytest.param(
            DROP + COLUMN.replace('unit = "CNY/t"\n', ""),
            "column 'Avg': unit: say either unit, or unit_column",
            id="no unit",
        ),
        pytest.param(
            DROP + COLUMN + 'unit_column = "Unit"\n',
            "unit: say either unit, or unit_column",
            id="two units",
        ),
        pytest.param(DROP + COLUMN.replace('"Avg"', '" "'), "column: is empty", id="blank column"),
        pytest.param(
            DROP + 'dates = ["%d/%m"]\n' + COLUMN, "dates: '%d/%m' says no year", id="form"
        ),
        pytest.param(
            DROP + 'frequency = "week"\n' + COLUMN,
            "frequency: 'week' is not one of day, month, year",
            id="frequency",
        ),
        pytest.param(
            DROP + 'decimal = ";"\n' + COLUMN, "decimal: ';' is not one of ., ,", id="decimal"
        ),
        pytest.param(
            DROP + 'delimiter = ";;"\n' + COLUMN, "delimiter: ';;' is not one mark", id="delimiter"
        ),
        pytest.param(
            DROP + 'encoding = "gb"\n' + COLUMN, "encoding: 'gb' is no encoding", id="encoding"
        ),
        pytest.param(
            DROP + 'encoding = "zlib"\n' + COLUMN, "encoding: 'zlib' is no encoding", id="no text"
        ),
        pytest.param(
            DROP + "header_row = 100\n" + COLUMN, "header_row: 100 is not between", id="header row"
        ),
        pytest.param(
            DROP + 'header_row = "3"\n' + COLUMN, "header_row: '3' is not a int", id="type"
        ),
        pytest.param(
            DROP + 'other_columns = "keep"\n' + COLUMN,
            "other_columns: 'keep' is not one of",
            id="other columns",
        ),
        pytest.param(
            DROP + 'ignore = ["Avg"]\n' + COLUMN, "ignore: 'Avg' is read", id="read and ignored"
        ),
        pytest.param(DROP.replace('"Date"', '""') + COLUMN, "period: is empty", id="no period"),
        pytest.param(
            DROP + ROWS.replace('{"Nd oxide" = "nd_oxide"}', "{}"),
            "rows: series: is empty",
            id="no name is mapped",
        ),
        pytest.param(
            DROP + ROWS.replace('"Product"', '""'), "rows: names: is empty", id="no names"
        ),
        pytest.param(
            DROP + ROWS.replace('= "nd_oxide"', "= 3.5"),
            "rows: series: is a table of texts",
            id="no series",
        ),
        pytest.param(
            DROP + ROWS.replace('= "nd_oxide"', '= "nd_oxide", "Nd  oxide" = "nd_oxide"'),
            "differ only in spaces",
            id="names alike",
        ),
        pytest.param(DROP + "rows = 3\n", "csv_drop.smm.rows: is a table", id="rows is no table"),
        pytest.param(
            DROP + COLUMN.replace('"nd_oxide"', '"nd_oxid"'),
            "series: 'nd_oxid' is not in the catalogue; did you mean nd_oxide?",
            id="misspelt series",
        ),
        pytest.param(
            API.replace("https://api", "api") + FIELD, "url: is no address", id="no address"
        ),
        pytest.param(
            API.replace("https://api.vendor.example", "https://[") + FIELD,
            "url: is no address",
            id="broken address",
        ),
        pytest.param(
            API + "max_pages = 0\n" + FIELD, "max_pages: 0 must be 1 or more", id="no page"
        ),
        pytest.param(API + "next_page = 3\n" + FIELD, "next_page: is the field", id="paging"),
        pytest.param(
            API + 'next_page = {parm = "page"}\n' + FIELD,
            "next_page: parm: there is no such field; did you mean param?",
            id="paging field",
        ),
        pytest.param(
            API + 'next_page = {param = ""}\n' + FIELD,
            "next_page: param names a parameter",
            id="no parameter",
        ),
        pytest.param(
            API + 'params = {page = 1}\nnext_page = {param = "page"}\n' + FIELD,
            "params: page counts the pages",
            id="paging twice",
        ),
        pytest.param(
            API + "params = {on = true}\n" + FIELD,
            "params.on: is neither text nor number",
            id="parameter is no text",
        ),
        pytest.param(API + "params = 3\n" + FIELD, "params: is a table", id="params"),
        pytest.param(
            API + 'key = {param = "k"}\nparams = {k = 1}\n' + FIELD,
            "params: k is the place of the key",
            id="key twice",
        ),
        pytest.param(
            API.replace("/prices", "/prices?k=1") + 'key = {param = "k"}\n' + FIELD,
            "url: k is the place of the key",
            id="key in the address too",
        ),
        pytest.param(
            API + "key = {}\n" + FIELD,
            "key: one of header, param and bearer",
            id="key without a place",
        ),
        pytest.param(
            API + 'key = {header = "X", bearer = true}\n' + FIELD,
            "key: one of header, param and bearer",
            id="key in two places",
        ),
        pytest.param(
            API + 'key = {header = "X Y"}\n' + FIELD,
            "key.header: is the name of a header",
            id="no header",
        ),
    ],
)
def test_a_declaration_that_can_not_be_used_names_table_field_and_what_to_write(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(CatalogError) as caught:
        load(tmp_path, text, series={"nd_oxide"})
    assert "sources.toml" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(API + 'key = "hunter2secret"\n', id="key"),
        pytest.param(
            API + 'key = {header = "X-Api-Key", value = "hunter2secret"}\n', id="value of a key"
        ),
        pytest.param(API + 'key = {bearer = "hunter2secret"}\n', id="bearer"),
        pytest.param(API + 'api_key = "hunter2secret"\n', id="field of its own"),
        pytest.param(API + 'params = {apikey = "hunter2secret"}\n', id="parameter"),
        *(
            pytest.param(API + f'params = {{{name} = "hunter2secret"}}\n', id=f"parameter {name}")
            for name in (
                "key",
                "appkey",
                "app_key",
                "user_key",
                "sig",
                "X-Amz-Signature",
                "session",
            )
        ),
        pytest.param(API + 'headers = {auth = "hunter2secret"}\n', id="auth header"),
        pytest.param(API.replace("/prices", "/prices?sig=hunter2secret"), id="signed address"),
        pytest.param(API + 'params = {access_token = "hunter2secret"}\n', id="token"),
        pytest.param(API + 'headers = {Authorization = "Bearer hunter2secret"}\n', id="header"),
        pytest.param(API + 'headers = {X-Api-Key = "hunter2secret"}\n', id="key header"),
        pytest.param(API.replace("https://", "https://me:hunter2secret@"), id="password"),
        pytest.param(API.replace("/prices", "/prices?token=hunter2secret"), id="address"),
        pytest.param(
            DROP.replace("drops/*.csv", "https://smm.example/x.csv?apikey=hunter2secret"), id="drop"
        ),
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load(tmp_path, text + (FIELD if "http_json" in text else COLUMN))
    assert "hunter2secret" not in str(caught.value)


def test_a_machine_may_be_asked_in_the_clear_when_it_is_this_one(tmp_path: Path) -> None:
    (api,) = load(
        tmp_path, API.replace("https://api.vendor.example", "http://127.0.0.1:8000") + FIELD
    ).http_jsons
    assert api.url == "http://127.0.0.1:8000/v1/prices"
