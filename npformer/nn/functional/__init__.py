"""Functions of tensors under PyTorch's names: `import npformer.nn.functional as F`. Users' mistakes are worded here."""

# ruff: noqa: F401, I001
from .activation import (celu, dropout, elu, gelu, glu, gumbel_softmax, hardtanh, leaky_relu, log_softmax, logsigmoid, mish,
                         relu, relu6, selu, sigmoid, silu, softmax, softmin, softplus, softsign, tanh, tanhshrink)
from .attention import multi_head_attention_forward, scaled_dot_product_attention
from .lookup import embedding, one_hot
from .loss import (binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber_loss, kl_div, l1_loss,
                   mse_loss, nll_loss, smooth_l1_loss)
from .normalization import batch_norm, cosine_similarity, layer_norm, normalize, rms_norm
from .spatial import bilinear, conv1d, conv2d, fold, linear, pad, unfold
