"""The page of responses: what models wrote, in evaluations and trainings, to be filtered, searched and read.

evaluations.py, trainings.py   folders -> sources: columns to filter by, and the places of texts in the files
formulas.py                    LaTeX -> MathML as plain lists, of which the page builds elements
page.py                        sources -> one HTML file with everything in it
serve.py                       sources -> a local server, where a folder is too large for one file
"""
