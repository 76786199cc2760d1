"""Models for `torch.hub`:

model = torch.hub.load(REPO, "mos_subnet", checkpoint="subnet.pt", source="local")
model.translate("A dog runs.")

model = torch.hub.load(REPO, "mos_roberta", checkpoint="bert.pt", source="local")
model.fill_mask("A dog <mask>.")
"""

dependencies = ["fairseq", "msgspec", "numpy", "sacrebleu", "sentencepiece", "torch", "yaml"]


def mos_subnet(
    checkpoint=None, architecture=None, data=None, bpe=None, tokenizer=None, max_tokens=4096, progress=True, trust=False
):
    """A translation model: a subnet, a supernet with one architecture, or fairseq's stock `transformer`.

    The result has `translate(text, beam=5)`, `sample(text, beam=1, sampling=True)`, `score(sources, targets)`,
    `.cuda()` and `.half()`; texts are raw strings or lists of them. Nothing in a checkpoint or folder is executed,
    unless `trust` is given.

    Args:
        checkpoint (str): a checkpoint file (.pt), a folder that `fairseq-mos export` wrote, the http(s) or file URL
            of either's archive (.zip, .tgz, .tar, .tar.gz, .tar.bz2, .tar.xz) or of a .pt file, or a name of
            `configs/hub.yaml`.
        architecture (str): of a supernet: YAML file, 'largest', 'smallest' or 'random:SEED'.
        data (str): folder with dictionaries and the subword model; by default they lie beside the checkpoint.
        bpe (str): 'none' for text that is segmented already; by default sentencepiece.bpe.model or bpecodes beside
            the checkpoint.
        tokenizer (str): fairseq's name of the tokenizer that comes first, such as 'moses'.
        max_tokens (int): tokens of a batch, at least those of the longest sentence.
        progress (bool): show a bar while downloading.
        trust (bool): of a folder of torch.export programs, run the programs (in fp32 on the CPU), which can run any
            code; otherwise their weights are loaded into the network that they were exported from.
    """
    import fairseq_mos

    fairseq_mos.register()
    from fairseq_mos import hub
    from fairseq_mos.published import fetch_model

    return hub.load(fetch_model(checkpoint, progress), architecture, data, bpe, tokenizer, max_tokens, trust)


def mos_roberta(checkpoint=None, architecture=None, data=None, bpe=None, tokenizer=None, progress=True, trust=False):
    """A masked language model: a subnet, a supernet with one architecture, or fairseq's stock `roberta`.

    The result has `fill_mask(text, topk=5)`, `extract_features(text, return_all_hiddens=False)`, `encode(text)`,
    `decode(tokens)`, `.cuda()` and `.half()`; texts are raw strings or lists of them. Nothing in a checkpoint or folder
    is executed, unless `trust` is given.

    Args:
        checkpoint (str): see `mos_subnet`.
        architecture (str): of a supernet: YAML file, 'largest', 'smallest' or 'random:SEED'.
        data (str): folder with dict.txt and the subword model; by default they lie beside the checkpoint.
        bpe (str): 'none' for text that is segmented already; by default sentencepiece.bpe.model or bpecodes beside
            the checkpoint.
        tokenizer (str): fairseq's name of the tokenizer that comes first, such as 'moses'.
        progress (bool): show a bar while downloading.
        trust (bool): of a folder with a torch.export program, run the program (in fp32 on the CPU), which can run any
            code; otherwise its weights are loaded into the network that it was exported from.
    """
    import fairseq_mos

    fairseq_mos.register()
    from fairseq_mos.families.masked_lm import hub
    from fairseq_mos.published import fetch_model

    return hub.load(fetch_model(checkpoint, progress, "mos_roberta"), architecture, data, bpe, tokenizer, trust)
