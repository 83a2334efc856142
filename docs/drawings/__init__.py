"""Drawings of the pages, as SVG: docs/extensions/drawings.py puts them there.

pictures    what there is, by name
graph       boxes and arrows, laid out by Graphviz
sequence    who says what to whom, one after the other
journey     the way of something through many hands, down on one side and up on the other
svg         what these are made of
plots       the plots of the benchmarks
"""
