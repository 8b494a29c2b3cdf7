"""Named methods: each with its paper, the published hyper-parameters, and when to use it."""

from imbal_jax.methods.method import Method

# Papers that several recipes come from
_CAO = "Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019"
_CUI = "Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019"
# its heads are trained for 10 epochs; the least number of steps is ours, for small data sets
_KANG = "Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020"
_MENON = "Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021"
_REN = "Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020"
_ZHANG = "Zhang et al., Bag of Tricks for Long-Tailed Visual Recognition, AAAI 2021"
_CHOU = "Chou et al., Remix: Rebalanced Mixup, ECCV 2020 workshops"
_COPIES = "Japkowicz and Stephen, The Class Imbalance Problem: A Systematic Study, 2002"
_SAERENS = "Saerens, Latinne and Decaestecker, Adjusting the Outputs of a Classifier, Neural Computation 2002"
_HOLSTE = "Holste et al., Long-Tailed Classification of Thorax Diseases on Chest X-Ray, MICCAI 2022 workshops"

_RECIPES = (
    # Weights and losses of one label
    Method(
        name="ce",
        summary="Plain cross-entropy on shuffled data: the baseline every remedy has to beat.",
    ),
    Method(
        name="weighted_ce",
        weights="inverse",
        summary="Each class weighs the same in the loss, no image is dropped or repeated: the first thing to try "
        "where the rarest class has dozens of images.",
        paper="King and Zeng, Logistic Regression in Rare Events Data, 2001",
    ),
    Method(
        name="sqrt_weighted_ce",
        weights="sqrt_inverse",
        summary="Half-way, in the logarithm, between no weights and equal classes: for ratios where the full "
        "weights make training unstable.",
        paper=_ZHANG,
    ),
    Method(
        name="median_frequency",
        weights="median_frequency",
        summary="Weights relative to the class of median size: where a few classes are huge and the rest alike.",
        paper="Eigen and Fergus, Predicting Depth, Surface Normals and Semantic Labels, ICCV 2015",
    ),
    Method(
        name="effective_number",
        weights="effective",
        summary="Weights between none and inverse, for classes of thousands where images overlap.",
        paper=_CUI,
    ),
    Method(
        name="bayesian_ce",
        loss="bayesian",
        normalize="count",
        summary="Cross-entropy weighted by the priors of the mini-batch, which bounds the largest weight; "
        "wants large batches and a smaller learning rate.",
        paper="Dalyac, Shanahan and Kelly, Tackling Class Imbalance with Deep Convolutional Neural "
        "Networks, 2014",
    ),
    Method(
        name="focal",
        loss="focal",
        summary="Easy examples count less (gamma 2, as in the paper for detection; code for long tails takes 1): "
        "weak alone on long tails.",
        paper="Lin et al., Focal Loss for Dense Object Detection, ICCV 2017",
    ),
    Method(
        name="weighted_focal",
        loss="focal",
        weights="inverse",
        summary="Focal loss with equal classes: where the common class is not only large but also easy.",
        paper=_HOLSTE,
    ),
    Method(
        name="class_balanced_focal",
        loss="class_balanced_focal",
        options=(("gamma", 1.0),),  # with beta 0.9999 the best of the paper on CIFAR-10-LT at 1:100
        normalize="count",
        summary="One sigmoid a class with focal loss and effective-number weights: the strongest of the plain "
        "re-weightings on long-tailed CIFAR.",
        paper=_CUI,
    ),
    Method(
        name="poly1",
        loss="poly1",
        summary="Cross-entropy with a stronger pull on what is nearly right: a cheap variant to tune, no remedy "
        "for imbalance by itself.",
        paper="Leng et al., PolyLoss, ICLR 2022",
    ),
    Method(
        name="logit_adjusted",
        loss="logit_adjusted",
        summary="Logits are moved by the log priors while training: bounded gradients, a good first choice "
        "from 1:1000 up.",
        paper=_MENON,
    ),
    Method(
        name="balanced_softmax",
        loss="balanced_softmax",
        summary="The softmax weighted by class counts, which is logit adjustment at tau 1: for comparison with "
        "papers of that name.",
        paper=_REN,
    ),
    Method(
        name="vector_scaling",
        loss="vector_scaling",
        options=(("tau", 1.25), ("gamma", 0.15)),  # the paper's values for CIFAR-10-LT at 1:100
        summary="Logits moved and scaled by class: logit adjustment with one more parameter, where validation "
        "data suffice to tune it.",
        paper="Kini et al., Label-Imbalanced and Group-Sensitive Classification under Overparameterization, "
        "NeurIPS 2021",
    ),
    Method(
        name="class_dependent_temperature",
        loss="class_dependent_temperature",
        options=(("gamma", 0.2),),  # the paper's values for CIFAR-10-LT at 1:100
        summary="Rare classes must be right by a larger factor while training: where features over-fit the rare.",
        paper="Ye et al., Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning, 2020",
    ),
    Method(
        name="ldam",
        loss="ldam",
        head="cosine",
        summary="Larger margins for rarer classes on a cosine head: many classes with few images each.",
        paper=_CAO,
    ),
    Method(
        name="equalization",
        loss="equalization",
        summary="Classes below half of an equal share are spared the negative gradients of the others at random "
        "(gamma 0.9): hundreds of classes.",
        paper="Tan et al., Equalization Loss for Long-Tailed Object Recognition, CVPR 2020",
    ),
    Method(
        name="influence_balanced",
        loss="influence_balanced",
        weights="effective",
        beta=1 - 1e-10,  # in the limit of 1: inverse counts that sum to C, as in the authors' code
        normalize="count",
        deferred=("weights", "loss"),
        defer=0.5,
        rate_after=0.01,
        summary="After half the run, images that pull the boundary most count less: for large common classes "
        "that crowd it.",
        paper="Park et al., Influence-Balanced Loss for Imbalanced Visual Classification, ICCV 2021",
    ),
    Method(
        name="label_aware_smoothing",
        second_stage="head_and_scale",
        second_epochs=10.0,
        second_steps=100,
        second_loss="label_aware_smoothing",
        second_loss_options=(("head", 0.3), ("tail", 0.0)),  # from the authors' code for CIFAR-10-LT at 1:100
        summary="Plain training, then the head goes on with softer targets for commoner classes: calibrated "
        "probabilities.",
        paper="Zhong et al., Improving Calibration for Long-Tailed Recognition, CVPR 2021",
    ),
    Method(
        name="weighted_ce_warmup",
        weights="inverse",
        deferred=("weights",),
        ramp=0.5,
        summary="Weights that come in linearly over the first half: where full weights from the start diverge.",
        paper=_ZHANG,
    ),
    # Deferred: features first, balance later
    Method(
        name="ce_drw",
        weights="effective",
        deferred=("weights",),
        defer=0.8,
        summary="Effective-number weights in the last fifth only: features from all data, then a fair boundary.",
        paper=_CAO,
    ),
    Method(
        name="inverse_drw",
        weights="inverse",
        deferred=("weights",),
        defer=0.8,
        summary="Inverse-count weights in the last fifth only: as ce_drw where classes are small.",
        paper=_ZHANG,
    ),
    Method(
        name="focal_drw",
        loss="focal",
        weights="effective",
        deferred=("weights",),
        defer=0.8,
        summary="Focal loss, weighted in the last fifth: where focal is set and only the balance is missing.",
        paper=_ZHANG,
    ),
    Method(
        name="ldam_drw",
        loss="ldam",
        head="cosine",
        weights="effective",
        deferred=("weights",),
        defer=0.8,
        summary="Margins from the start, weights in the last fifth: the reference method of long-tailed CIFAR.",
        paper=_CAO,
    ),
    Method(
        name="cdt_drw",
        loss="class_dependent_temperature",
        options=(("gamma", 0.2),),
        weights="effective",
        deferred=("weights",),
        defer=0.8,
        summary="Class-dependent temperature, weighted in the last fifth: as CDT, where its boundary is still off.",
        paper=_ZHANG,
    ),
    Method(
        name="ce_drs",
        composition="balanced",
        deferred=("composition",),
        defer=0.8,
        summary="Natural batches, then balanced ones in the last fifth: where weights are unwelcome.",
        paper=_CAO,
    ),
    Method(
        name="deferred_logit_adjusted",
        loss="logit_adjusted",
        deferred=("loss",),
        defer=0.8,
        summary="Logit adjustment in the last fifth: to repair a long training run at its end.",
        paper=_ZHANG,
    ),
    # Composition of the batches
    Method(
        name="stratified",
        composition="balanced",
        summary="Every batch holds as many images of each class, and every image is used: the plain, strong "
        "choice for screening.",
        paper="Shen, Lin and Huang, Relay Backpropagation (class-aware sampling), ECCV 2016",
    ),
    Method(
        name="sqrt_sampling",
        composition="sqrt",
        summary="Batches between natural and balanced: where balanced ones repeat the rarest too often.",
        paper=_KANG,
    ),
    Method(
        name="progressive",
        composition="progressive",
        summary="From natural to balanced batches over the run: a smooth ce_drs, with nothing to choose.",
        paper=_KANG,
    ),
    Method(
        name="reversed",
        composition="reversed",
        summary="The rarest class is drawn most: the re-balancing branch of BBN alone, for ablations.",
        paper="Zhou et al., BBN: Bilateral-Branch Network, CVPR 2020",
    ),
    Method(
        name="repeat_factor",
        composition="repeat_factor",
        summary="Images with a rare label are repeated: the sampler for many labels an image.",
        paper="Gupta, Dollar and Girshick, LVIS, CVPR 2019",
    ),
    Method(
        name="undersample",
        composition="balanced",
        epoch="rarest",
        summary="As many images of each class as the rarest has, a fresh subset every epoch (one network; the paper "
        "votes over several): the cheapest epochs, where data are plenty.",
        paper="Liu, Wu and Zhou, Exploratory Undersampling for Class-Imbalance Learning, 2009",
    ),
    Method(
        name="undersample_fixed",
        resample="under",
        summary="As many images of each class as the rarest has, the rest left out for good: a baseline.",
        paper=_COPIES,
    ),
    Method(
        name="oversample",
        resample="over",
        summary="Rare images are copied until the classes are equal, then shuffled: as stratified, where batches "
        "should vary.",
        paper=_COPIES,
    ),
    Method(
        name="perturbed_oversample",
        resample="over",
        perturb_repeats=True,
        summary="Oversampling whose copies are perturbed further the more often they repeat: rare classes of a "
        "few dozen images.",
        paper="Lee, Noisy Replication in Skewed Binary Classification, 2000",
    ),
    Method(
        name="hard_negatives",
        hard_negatives=3.0,
        summary="Of the negatives only the hardest count, three for a positive: screening where most negatives "
        "are trivial.",
        paper="Shrivastava, Gupta and Girshick, Training Region-Based Object Detectors with Online Hard Example "
        "Mining, CVPR 2016",
    ),
    # Mixing
    Method(
        name="mixup",
        mixing="mixup",
        mixing_alpha=1.0,
        summary="Images and labels are blended in pairs: better features and calibration, balance still to come.",
        paper="Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018",
    ),
    Method(
        name="cutmix",
        mixing="cutmix",
        mixing_probability=0.5,
        summary="A box of each image is replaced by another's: where findings are local and images plenty.",
        paper="Yun et al., CutMix, ICCV 2019",
    ),
    Method(
        name="remix",
        mixing="remix",
        summary="Mixup whose label leans to the rarer image: mixup where one class is three times another.",
        paper=_CHOU,
    ),
    Method(
        name="remix_drw",
        mixing="remix",
        weights="effective",
        deferred=("weights",),
        defer=0.8,
        summary="Remix, weighted in the last fifth: its strongest form on long-tailed CIFAR.",
        paper=_CHOU,
    ),
    Method(
        name="balanced_mixup",
        mixing="balanced_mixup",
        mixing_alpha=0.2,
        summary="Natural images with a little of a class-balanced one: made for rare grades of retinal disease.",
        paper="Galdran, Carneiro and Gonzalez Ballester, Balanced-MixUp, MICCAI 2021",
    ),
    Method(
        name="cmo",
        mixing="cmo",
        mixing_probability=0.5,
        mixing_span=(0.015, 0.985),
        summary="Rare foregrounds are pasted on common backgrounds: rare classes seen in many contexts.",
        paper="Park et al., The Majority Can Help the Minority, CVPR 2022",
    ),
    # Contrast
    Method(
        name="sup_con",
        composition="balanced",
        auxiliary="sup_con",
        views=2,
        summary="Cross-entropy and a supervised contrast of the features together (the paper: the contrast alone, "
        "then a linear head): large batches, enough images a class.",
        paper="Khosla et al., Supervised Contrastive Learning, NeurIPS 2020",
    ),
    Method(
        name="balanced_contrastive",
        loss="logit_adjusted",
        head="cosine",
        auxiliary="balanced_contrastive",
        views=3,
        contrast_views=2,
        auxiliary_weight=0.35,
        auxiliary_temperature=0.07,
        summary="Logit adjustment on a cosine head and a contrast, on two more views, in which every class has one "
        "say: many classes, long training.",
        paper="Zhu et al., Balanced Contrastive Learning for Long-Tailed Visual Recognition, CVPR 2022",
    ),
    # Second stages
    Method(
        name="crt",
        second_stage="retrain",
        second_epochs=10.0,
        second_steps=100,
        summary="Plain training, then a new head on balanced batches: the method to beat on chest X-rays.",
        paper=_KANG,
    ),
    Method(
        name="lws",
        second_stage="scale",
        second_epochs=10.0,
        second_steps=100,
        summary="Plain training, then one learned factor a class: where few images are left to fit a head.",
        paper=_KANG,
    ),
    Method(
        name="tau_norm",
        second_stage="tau_norm",
        summary="Plain training, then the head's columns brought to one length: no second training at all.",
        paper=_KANG,
    ),
    Method(
        name="nearest_mean",
        second_stage="nearest_mean",
        summary="Plain training, then the nearest class mean decides: classes that may be added later.",
        paper=_KANG,
    ),
    Method(
        name="prototype_head",
        second_stage="prototype_head",
        memory_distance="euclidean",
        summary="Plain training, then the distance to the class means: classes that imbal-jax enroll adds later; "
        "compare with ce and crt (docs/FEW_SHOT.md).",
        paper="Snell, Swersky and Zemel, Prototypical Networks for Few-Shot Learning, NeurIPS 2017",
    ),
    Method(
        name="memory_head",
        second_stage="memory_head",
        summary="Plain training, then a memory of examples, 64 a class and all of a rarer one, read by similarity: "
        "classes that imbal-jax enroll adds later; compare with ce and crt (docs/FEW_SHOT.md).",
        paper="Kaiser et al., Learning to Remember Rare Events, ICLR 2017",
    ),
    Method(
        name="attention_head",
        second_stage="attention_head",
        second_epochs=10.0,
        second_steps=100,
        summary="Plain training, then attention over examples of every class, trained on balanced batches of "
        "features: a memory whose similarity is learned.",
        paper="Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016",
    ),
    Method(
        name="mislas",
        mixing="mixup",
        mixing_alpha=1.0,
        second_stage="head_and_scale",
        second_epochs=10.0,
        second_steps=100,
        second_loss="label_aware_smoothing",
        second_loss_options=(("head", 0.3), ("tail", 0.0)),  # from the authors' code for CIFAR-10-LT at 1:100
        summary="Mixup, then the head goes on with label-aware smoothing: accuracy with calibrated probabilities.",
        paper="Zhong et al., Improving Calibration for Long-Tailed Recognition, CVPR 2021",
    ),
    Method(
        name="smote",
        second_stage="smote",
        second_epochs=10.0,
        second_steps=100,
        summary="A new head on balanced batches, rare classes filled up with features between rare neighbours: a "
        "handful of rare images.",
        paper="Chawla et al., SMOTE, JAIR 2002; on deep features: Dablain, Krawczyk and Chawla, DeepSMOTE, 2022",
    ),
    Method(
        name="smoothed_bootstrap",
        second_stage="smoothed_bootstrap",
        second_epochs=10.0,
        second_steps=100,
        summary="A new head on balanced batches, rare classes filled up with noise of their own spread around rare "
        "features: as smote, with fewer neighbours.",
        paper="Menardi and Torelli, Training and Assessing Classification Rules with Imbalanced Data, 2014",
    ),
    # Corrections of what is predicted
    Method(
        name="post_hoc_logit_adjusted",
        correction="logit_adjusted",
        summary="Plain training, predictions moved by the log priors: for a model that cannot be trained again.",
        paper=_MENON,
    ),
    Method(
        name="threshold_moving",
        correction="threshold",
        summary="Plain training, then factors a class that balance the accuracies on validation: the ranking of "
        "ce with a fair decision.",
        paper="Provost, Machine Learning from Imbalanced Data Sets 101, 2000",
    ),
    Method(
        name="stratified_corrected",
        composition="balanced",
        correction="prior",
        summary="Balanced batches, then probabilities brought back to the true priors: a risk a clinician can read.",
        paper=_SAERENS,
    ),
    Method(
        name="saerens_em",
        composition="balanced",
        correction="em",
        summary="Balanced batches, then the priors that the test images suggest: an unknown prevalence.",
        paper=_SAERENS,
    ),
    # Many labels an image
    Method(
        name="asymmetric",
        loss="asymmetric",
        options=(("gamma_pos", 0.0),),  # as the authors trained; 4 for negatives, clip 0.05
        normalize="count",
        summary="Easy negatives vanish from the loss: many labels an image, each rare.",
        paper="Ridnik et al., Asymmetric Loss for Multi-Label Classification, ICCV 2021",
    ),
    Method(
        name="distribution_balanced",
        loss="distribution_balanced",
        composition="balanced",
        normalize="count",
        summary="Batches that draw every label alike, and weights that undo the side effects on images with several: "
        "long-tailed labels.",
        paper="Wu et al., Distribution-Balanced Loss for Multi-Label Classification, ECCV 2020",
    ),
    Method(
        name="class_balanced_sigmoid_focal",
        loss="class_balanced_sigmoid_focal",
        normalize="count",
        summary="Focal loss with effective-number weights on each label: many labels of very different counts.",
        paper=_CUI,
    ),
    # Ranking
    Method(
        name="auc_margin",
        loss="auc_margin",
        composition="balanced",
        summary="The AUROC itself, by a min-max problem with a margin, from scratch (the paper: after cross-entropy, "
        "with a new head): ranking matters.",
        paper="Yuan et al., Large-Scale Robust Deep AUC Maximization, ICCV 2021",
    ),
    Method(
        name="pairwise_auc",
        loss="pairwise_auc",
        composition="balanced",
        summary="Every positive against every negative of the batch: ranking matters, batches are large.",
        paper="Gao and Zhou, On the Consistency of AUC Pairwise Optimization, IJCAI 2015",
    ),
    Method(
        name="partial_auc",
        loss="partial_auc",
        composition="balanced",
        summary="Positives against the hardest negatives: only the low false-positive end is ever used.",
        paper="Zhu et al., When AUC Meets DRO: Optimizing Partial AUC for Deep Learning, ICML 2022",
    ),
    Method(
        name="smooth_ap",
        loss="smooth_ap",
        composition="balanced",
        summary="A smooth average precision of the batch: positives must come first in a long list.",
        paper="Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV 2020",
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _RECIPES}
