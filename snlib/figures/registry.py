"""Every recorded figure by name: its notebook, its experiment, its caption, its function."""

from __future__ import annotations

from snlib.figures import (
    attacks,
    benchmarks,
    beyond,
    bounds,
    capacity,
    convolution,
    curves,
    extensions,
    gap,
    kappa,
    margins,
    memorization,
    norm_gain,
    panels,
    ranks,
    rivals,
    robustness,
    runtimes,
    scaling,
    strengths,
    table1,
    tour,
    verdicts,
)
from snlib.figures.entries import Entry, Judged, Measured, Nearest, OfPanels, OfTable1

REGISTRY: dict[str, Entry] = {
    "tour_gap": Entry(
        "00",
        "gap",
        "Generalization gap of PGM training against the norm budget, and the two accuracies behind "
        "it. Bars: 95 % Student interval over seeds; small dots: single seeds; shaded: the budget "
        "that validation chose; hollow: published, AlexNet on CIFAR-10, one run.",
        tour.one_scheme,
    ),
    "attack_protocols": Entry(
        "02",
        "protocols",
        "Test accuracy of the same networks by the authors' protocol (each under its own attack, "
        "aimed at predicted labels) and by PGM-15 at one radius, aimed in three ways. Bars: 95 % "
        "Student interval over seeds; small dots: single seeds; hollow: published, AlexNet on "
        "CIFAR-10 under the authors' protocol, one run.",
        attacks.protocols,
    ),
    "gap_against_budget": Entry(
        "04",
        "gap",
        "Generalization gap (train minus test accuracy under the training attack) against the norm "
        "budget, one column a training scheme, and the two accuracies behind it. Bars: 95 % "
        "Student interval over seeds; small dots: single seeds; shaded: the budget that validation "
        "chose; hollow: published, AlexNet on CIFAR-10, one run.",
        gap.against_budget,
    ),
    "training_curves": Entry(
        "05",
        "curves",
        "Accuracy under the training attack by epoch, with and without spectral normalization. "
        "Lines: mean over seeds of trailing means of ten epochs; bands: 95 % Student interval. "
        "Grey: the paper's curves, AlexNet on CIFAR-10, one run, read off its figure.",
        curves.with_and_without,
    ),
    "further_training_curves": OfPanels(
        "05",
        "curves_elu, curves_inception_resnet, curves_linf",
        "The paper's further training curves, on CIFAR-10, one run each, read off its figures "
        "(grey): ELU-AlexNet, Inception and ResNet, AlexNet under linf attacks. In colour, where "
        "recorded: mean over seeds of trailing means of ten epochs; bands: 95 % Student interval.",
        panels.further_curves,
    ),
    "overshoot": Entry(
        "01",
        "overshoot",
        "By how much the true norm of each trained layer exceeds the budget beta = 1, trained "
        "with one power iteration a step and with the default tracking. A dot a seed.",
        convolution.overshoot,
    ),
    "norm_gain": Entry(
        "03",
        "gain",
        "Norm gain of ERM nets on test images. Left: densities of its logarithm, rebuilt from "
        "recorded quantiles, a line a seed; above them the paper's modes (AlexNet on CIFAR-10, one "
        "run). Right: median and 5-95 % range of each seed, the product of the layers' norms, and "
        "the same modes.",
        norm_gain.norm_gain,
    ),
    "kappa": Entry(
        "03",
        "gain",
        "Input-gradient norms on training images, a line a seed. Above: densities at beta = 1.3, "
        "rebuilt from recorded quantiles. Below: share of the images whose norm is at most x; the "
        "left ends are kappa. Grey: mode and right end of the paper's densities (AlexNet on "
        "CIFAR-10, beta = 1.3, one run).",
        kappa.kappa,
    ),
    "margins": Entry(
        "06",
        "margins",
        "Densities of training margins, raw and normalized as published, without and with SN, a "
        "line a seed, rebuilt from recorded quantiles; below each panel the paper's modes (AlexNet "
        "on CIFAR-10, one run).",
        margins.margins_from_records,
    ),
    "margin_sizes": Entry(
        "06",
        "margins",
        "Mode of the training margins, raw, divided as published and by the square root of Phi, "
        "a dot a seed. Diamonds: the paper's modes (AlexNet on CIFAR-10, one run).",
        margins.margin_sizes_from_records,
    ),
    "table1_scatter": OfTable1(
        "10",
        "table1",
        "Gain of SN in test accuracy against test accuracy without it, a dot a configuration of "
        "Table 1. Hollow: the paper's rows, one run each; crosses: what its authors computed and "
        "left out; blue: here, mean and 95 % Student interval over seeds.",
        table1.scatter,
    ),
    "table1_parts": OfTable1(
        "10",
        "table1",
        "What each gain is made of: the rise in train accuracy and the reduction of the gap, which "
        "add up to it. Left the paper's rows, one run each; right means over seeds.",
        table1.parts,
    ),
    "verdicts": Judged(
        "13",
        "claims",
        "Every claim against what is claimed of it (shaded): mean and 95 % interval of the part "
        "that decides, at each scale; diamonds: the same number from the paper's data, one run; "
        "right: the verdicts.",
        verdicts.forest,
    ),
    "looseness": Entry(
        "07",
        "bounds",
        "Every bound on the error, constants in O(.) taken as 1, against the norm budget; above 1 "
        "(black) it says nothing. Means over seeds, bars 95 % Student intervals. Hollow diamonds: "
        "published (AlexNet on CIFAR-10, from its figure; VGG, Xiao et al. 2023), one run each.",
        bounds.looseness_from_records,
    ),
    "ranks": Entry(
        "07",
        "bounds",
        "Generalization gap against the capacity of each scheme's theorem, fully connected nets, a "
        "point a configuration (mean over seeds). Lines join configurations that differ in one "
        "setting; tau of Kendall, mean over seeds and half of its 95 % Student interval.",
        ranks.ranks_from_records,
    ),
    "taus": Entry(
        "07",
        "bounds",
        "Kendall's tau of six measures with the generalization gap, over all runs of a seed and "
        "setting by setting (all others held fixed). Dots: mean over seeds; bars: 95 % Student "
        "interval, which for a mean near 1 may pass it.",
        ranks.taus_from_records,
    ),
    "random_labels": Entry(
        "08",
        "random_labels",
        "Training accuracy under the attack of training by epoch, on random labels without and "
        "with SN and on true labels with SN. Lines: mean over seeds of trailing means of ten "
        "epochs; bands: 95 % Student interval. Lower row (on all of CIFAR-10: dashed): the paper's "
        "curves, AlexNet on CIFAR-10, one run, read off its figure.",
        memorization.who_memorizes,
    ),
    "capacity_probe": Entry(
        "08",
        "random_labels",
        "ERM's accuracy on random and on true training labels against the norm budget, mean and "
        "95 % Student interval over seeds; its edge over guessing against the square root of Phi, "
        "a dot a seed.",
        capacity.from_records,
    ),
    "error_against_eps": Entry(
        "09",
        "robustness",
        "Test error against eps in multiples of the radius of training, without and with SN, the "
        "paper's eight pairs of net and attack. Bars: 95 % Student interval over seeds; grey: the "
        "paper's curves, AlexNet on CIFAR-10, one run.",
        robustness.against_eps,
    ),
    "every_pair": Entry(
        "09",
        "robustness",
        "Test error against eps of every net under every attack, and under PGM with true labels "
        "and log-odds in the norm of its training. Bars: 95 % Student interval over seeds.",
        robustness.every_pair,
    ),
    "budget_ranks": Entry(
        "09",
        "ranks",
        "Accuracy of PGM nets against the norm budget by the paper's protocol and by stronger "
        "attacks, and what each takes off the paper's number. Bars: 95 % Student interval over "
        "seeds, on the right of differences seed by seed.",
        strengths.ranks,
    ),
    "step_cost": Measured(
        "11",
        "benchmarks",
        "Time of a training step of AlexNet (batch 128) under a norm budget over the plain step. "
        "Dots: median of paired rounds; bars: their quartile range; dashed: the aim.",
        benchmarks.step_cost,
    ),
    "run_times": Nearest(
        "11",
        "runtimes",
        "Time of an epoch with SN over that without, one panel a training scheme, one line a data "
        "set and network. Dots: median over seeds; bars: their whole range; hollow: linf attack; "
        "dashed: the tenth more that claim 15 allows. Of Table 2's numbers none is known.",
        runtimes.run_times,
    ),
    "norm_error_and_time": Measured(
        "11",
        "benchmarks",
        "Relative error of estimates of a convolution's norm against CPU time, fresh weights, one "
        "run each, no range. Filled: below the norm; hollow: above it; blue: ours.",
        benchmarks.error_against_time,
    ),
    "attack_cost": Measured(
        "11",
        "benchmarks",
        "Time of PGM-15 (dots) and FGM (diamonds) over that of torchattacks, AlexNet. Median of "
        "paired rounds and their whole range; dashed: the aims of PGM-15.",
        benchmarks.attack_cost,
    ),
    "cost_growth": Measured(
        "11",
        "benchmarks",
        "Time of an ERM step with the default budget over the plain step, one thing changed at a "
        "time. Dots: median of paired rounds; bars: their quartile range.",
        benchmarks.cost_growth,
    ),
    "many_runs": Measured(
        "11",
        "benchmarks",
        "Left: memory of a run at batch 128, by network (dots: training schemes, one process each, "
        "no range; bar: what the queue expects). Right: hours of 1,000 runs of scale paper against "
        "the number of GPUs, simulated from measured overheads and assumed rates of one GPU.",
        scaling.many_runs,
    ),
    "rivals": Entry(
        "11",
        "rivals",
        "Adversarial training with SN by the operator norm, by Miyato's, weight decay, dropout and "
        "batch norm: test accuracy and gap under the training attack, each at the setting that "
        "validation chose, and test accuracy of all settings against the geometric mean of the "
        "layers' true norms. Bars: 95 % Student interval over seeds; small dots: single seeds. The "
        "paper's numbers of this comparison are not known.",
        rivals.rivals,
    ),
    "beyond_factorial": Entry(
        "12",
        "beyond",
        "Test accuracy with and without SN, and the gain of SN, under every combination of early "
        "stopping, a falling learning rate, augmentation and true-label training attacks, and by "
        "the two named protocols; filled: under PGM-15 towards each other class. Dots and bars: "
        "mean and 95 % Student interval over seeds.",
        beyond.factorial,
    ),
    "beyond_factors": Entry(
        "12",
        "beyond",
        "What each factor does to test accuracy without SN, with SN, and to the gain of SN: mean "
        "over the other factors. Bars: 95 % Student interval over seeds.",
        beyond.factors,
    ),
    "temperature": Entry(
        "12",
        "temperature",
        "Accuracy against the size of the outputs, made small by a norm budget or by dividing the "
        "logits. Dots and bars: mean and 95 % Student interval over seeds; small dots: single "
        "seeds.",
        extensions.against_size,
    ),
    "extensions": Entry(
        "12",
        "extensions",
        "TRADES, other data sets and networks against the norm budget (extension: from a summary "
        "of the paper, not from the paper). Dots and bars: mean and 95 % Student interval over "
        "seeds; shaded: the budget that validation chose.",
        extensions.against_budget,
    ),
}
