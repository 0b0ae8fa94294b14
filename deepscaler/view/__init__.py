"""Builds the page of responses, on which users filter, search and read what models wrote.

evaluations.py, trainings.py   folders -> sources: columns to filter by, and the places of texts in the files
formulas.py                    LaTeX -> MathML as plain lists, from which the page builds elements
page.py                        sources -> one HTML file that contains everything
serve.py                       sources -> a local server, for folders too large for one file

The page has a script of its own and no framework. The script filters a hundred thousand rows in the browser, and a
policy with its hash lets no other script run.
"""
