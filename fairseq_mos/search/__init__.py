"""Search: which architectures of a supernet are best under limits on their cost.

Algorithms (:mod:`.algorithms`) know fitness and limits alone; what is measured is the evaluator's business
(:mod:`.evaluator`), what is kept the archive's (:mod:`.archive`), and :mod:`.driver` ties them together.
"""
