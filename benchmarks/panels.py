"""Public price files as panels for `lodestone backtest --panel`: long CSV with unique_id,ds,y.

python benchmarks/panels.py worldbank CMO-Historical-Data-Monthly.xlsx --since 2000 --out worldbank.csv
python benchmarks/panels.py dated brent-weekly.csv wti-daily.csv --out oil.csv
python benchmarks/panels.py rates fx_monthly.csv --since 1990 --out fx.csv

`worldbank` is the Pink Sheet (World Bank, "Commodity Markets", monthly prices); `dated` takes files with the
columns Date,Price, each one series; `rates` takes Date,Country,Exchange rate.
"""

import argparse
import re
import sys
from pathlib import Path

import openpyxl
import pandas as pd

COLUMNS = ["unique_id", "ds", "y"]


def worldbank(path: Path) -> pd.DataFrame:
    """Every series of the sheet "Monthly Prices" by its code; "…" is a month without a price."""
    sheet = openpyxl.load_workbook(path, read_only=True)["Monthly Prices"]
    codes: tuple[object, ...] = ()
    rows = []
    for line in sheet.iter_rows(values_only=True):
        month = re.fullmatch(r"(\d{4})M(\d{2})", str(line[0]))
        if not month:
            codes = line  # the last line before the figures has the codes
            continue
        day = f"{month[1]}-{month[2]}-01"
        rows += [
            (code, day, value)
            for code, value in zip(codes[1:], line[1:], strict=True)
            if code and isinstance(value, int | float)
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def dated(path: Path) -> pd.DataFrame:
    """One series, named as the file."""
    frame = pd.read_csv(path).rename(columns={"Date": "ds", "Price": "y"})
    return frame.assign(unique_id=path.stem)[COLUMNS]


def rates(path: Path) -> pd.DataFrame:
    """One series a country."""
    names = {"Date": "ds", "Country": "unique_id", "Exchange rate": "y"}
    return pd.read_csv(path).rename(columns=names)[COLUMNS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["worldbank", "dated", "rates"])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--since", default="", help="first date, as 2000 or 2000-01-01")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    read = {"worldbank": worldbank, "dated": dated, "rates": rates}[options.kind]
    panel = pd.concat([read(path) for path in options.files])
    panel = panel[panel["ds"] >= options.since]
    panel.to_csv(options.out, index=False)
    print(f"{panel['unique_id'].nunique()} series, {len(panel)} rows: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
