"""The lab manager's files: mappings/<instrument>.toml to a table, one result through it, and what is wrong with it.

    table.py    text -> Mapping, every mistake with its line        lint.py      what is readable but not right
    apply.py    Mapping + Result -> Mapped | LeftOut | Problem      catalogue.py ~200 common analytes
    decimals.py exact decimals      units.py how units are spelled  specimens.py what specimen types are called

Not here: which order a result answers (matching/), what an instrument means (instruments/, drivers/).
"""
