"""The style sheet of pages, for light and dark screens of any width and for print, and their head."""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --paper: #ffffff; --faint: #b9c0c8; --card: #f4f6f8;
  --good: #116329; --bad: #b3261e; --open: #7a4b00; --link: #0b57a4; --series0: #0b62b8; --series1: #c2500a;
  --series2: #22763b; --series3: #b3261e; --series4: #7a3db8; --series5: #80572e; --series6: #b0387f;
  --series7: #4d5660; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --paper: #14181d; --faint: #58616c;
  --card: #1e242b; --good: #6fd08c; --bad: #ff8a80; --open: #f0c060; --link: #8ec5ff; --series0: #6cb2f5;
  --series1: #f5a262; --series2: #6fd08c; --series3: #ff8a80; --series4: #c79bf0; --series5: #d0a878;
  --series6: #f08cc4; --series7: #aab4bf; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 3.5rem; }
body { margin: 0 auto; max-width: 64rem; padding: 1.2rem 1.5rem; color: var(--ink); background: var(--paper);
  font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); } a.mark { text-decoration: none; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.verdict { border-left: .4rem solid var(--good); background: var(--card); padding: .7rem 1.1rem; }
.verdict.fails { border-color: var(--bad); } .verdict.incomplete { border-color: var(--open); }
.verdict p { margin: .3rem 0 0; }
.holds { color: var(--good); } .fails { color: var(--bad); }
.incomplete, .inconclusive { color: var(--open); }
.verdict { color: var(--ink); } .quiet { opacity: .75; font-size: .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; padding: .16rem .8rem .16rem 0; border-bottom: 1px solid var(--faint);
  vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; } .claims th[scope=row] { white-space: nowrap; }
.several .marks { width: 17.5rem; } .claims .statement { font-size: .84rem; }
.mark.not-claimed { color: inherit; opacity: .75; } .mark.left-out { color: var(--open); }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; } .mark { display: inline-block; padding: .1rem .1rem; white-space: nowrap; }
ol.contents { margin: .3rem 0; padding-left: 1.6rem; }
details { border-top: 1px solid var(--faint); } details > div { padding: .2rem 0 1rem 1.1rem; }
summary { cursor: pointer; padding: .22rem 0; } summary b { font-weight: 600; }
summary .quiet { margin-left: .4rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; margin: .6rem 0; }
figure { margin: 0; flex: 1 1 20rem; max-width: 30rem; min-width: 0; }
figure svg { width: 100%; height: auto; } figure svg, figure svg text { fill: var(--ink); }
figcaption { font-size: .88rem; }
ul.advice { border-left: .3rem solid var(--bad); margin: .5rem 0; padding: .3rem 1rem .3rem 2rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: .7rem .8rem; }
  .claims .statement { display: none; } .several .marks { width: auto; }
  details > div { padding-left: .3rem; } .figures td:nth-child(4) { min-width: 6rem; } }
@page { margin: 12mm; }
@media print { :root { --ink: #000; --paper: #fff; --faint: #999; --card: #fff; --good: #000; --bad: #000;
  --open: #000; --link: #000; --series0: #0b62b8; --series1: #c2500a; --series2: #22763b; --series3: #b3261e;
  --series4: #7a3db8; --series5: #80572e; --series6: #b0387f; --series7: #4d5660; }
  body { max-width: none; padding: 0; font-size: 10pt; } a { text-decoration: none; }
  .several .marks { width: 14.5rem; } .claims, .claims .statement { font-size: 7.5pt; }
  .quiet, .contents { font-size: 8pt; } .quiet { margin: .4rem 0; } h2 { margin: .7rem 0 .2rem; }
  main { break-before: page; } h2 { break-after: avoid; }
  figure, tr, summary, .verdict { break-inside: avoid; } }
"""


def head(title: str, style: str = STYLE, *, strict: bool = False) -> list[str]:
    """Return the lines of a page before its content.

    Parameters
    ----------
    title : str
        Escaped text.
    style : str
        Style sheet.
    strict : bool
        If True, the browser refuses everything but this style sheet: scripts, addresses, style attributes.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        *([f'<meta http-equiv="Content-Security-Policy" content="{policy}">'] if strict else []),
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>{style}</style></head><body>",
    ]
