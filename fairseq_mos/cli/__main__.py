"""`python -m fairseq_mos.cli VERB`."""

import sys

from fairseq_mos.cli import main

sys.exit(main())
