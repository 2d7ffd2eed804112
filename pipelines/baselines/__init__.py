"""The detectors that BlockScan is compared with, each as good as its authors would make it.

The dict is the plug board: a family is fitted once and fills its columns.
"""

from pipelines.baselines import blockgpt, counting, novelty, published, sizes
from pipelines.baselines.bags import fit_tfidf
from pipelines.baselines.doc2vec import fit_doc2vec
from pipelines.baselines.setting import Baseline

BASELINES: dict[str, Baseline] = {
    "sizes": Baseline(sizes.COLUMNS, sizes.fit_sizes),
    "novelty": Baseline(novelty.COLUMNS, novelty.fit_novelty),
    "isolation_forest": Baseline(("isolation_forest",), counting.fit_isolation_forest),
    "one_class_svm": Baseline(("one_class_svm",), counting.fit_one_class_svm),
    "lof": Baseline(("lof",), counting.fit_lof),
    "ecod": Baseline(("ecod",), counting.fit_ecod),
    "counts_gmm": Baseline(("counts_gmm",), counting.fit_counts_mixture),
    "tfidf_gmm": Baseline(("tfidf_gmm",), fit_tfidf),
    "doc2vec_gmm": Baseline(("doc2vec_gmm",), fit_doc2vec),
    "blockgpt": Baseline(blockgpt.COLUMNS, blockgpt.fit_blockgpt),
    "single_mask": Baseline(published.OURS_COLUMNS, published.fit_single_mask),
    "published": Baseline(published.COLUMNS, published.fit_published, evm_only=True),
}
