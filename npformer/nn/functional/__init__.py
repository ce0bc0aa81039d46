"""Functions of tensors under PyTorch's names: `import npformer.nn.functional as F`.

Users' mistakes are worded here.
"""

# ruff: noqa: F401, I001
from .activation import (celu as celu, dropout as dropout, elu as elu, gelu as gelu, glu as glu,
                         gumbel_softmax as gumbel_softmax, hardtanh as hardtanh,
                         leaky_relu as leaky_relu, log_softmax as log_softmax,
                         logsigmoid as logsigmoid, mish as mish, relu as relu, relu6 as relu6,
                         selu as selu, sigmoid as sigmoid, silu as silu, softmax as softmax,
                         softmin as softmin, softplus as softplus, softsign as softsign,
                         tanh as tanh, tanhshrink as tanhshrink)
from .attention import (multi_head_attention_forward as multi_head_attention_forward,
                        scaled_dot_product_attention as scaled_dot_product_attention)
from .lookup import embedding as embedding, one_hot as one_hot
from .loss import (binary_cross_entropy as binary_cross_entropy,
                   binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
                   cross_entropy as cross_entropy, huber_loss as huber_loss, kl_div as kl_div,
                   l1_loss as l1_loss, mse_loss as mse_loss, nll_loss as nll_loss,
                   smooth_l1_loss as smooth_l1_loss)
from .normalization import (batch_norm as batch_norm, cosine_similarity as cosine_similarity,
                            layer_norm as layer_norm, normalize as normalize, rms_norm as rms_norm)
from .spatial import (bilinear as bilinear, conv1d as conv1d, conv2d as conv2d, fold as fold,
                      linear as linear, pad as pad, unfold as unfold)
