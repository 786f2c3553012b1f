"""Layers of published networks, and tiny ones, by name.

A result is filed under its layer's name, so the table only grows: a layer is never changed, moved or taken out.
"""

from cyconv._peers import Layer

LAYERS = (
    # ResNet-50 (He et al. 2015)
    Layer("resnet50.conv1", "conv", (1, 224, 224, 3), ((7, 7, 3, 64),), 2),
    Layer("resnet50.2_1x1", "conv", (1, 56, 56, 64), ((1, 1, 64, 256),)),
    Layer("resnet50.2_3x3", "conv", (1, 56, 56, 64), ((3, 3, 64, 64),)),
    Layer("resnet50.3_3x3", "conv", (1, 28, 28, 128), ((3, 3, 128, 128),)),
    Layer("resnet50.3_3x3s2", "conv", (1, 56, 56, 128), ((3, 3, 128, 128),), 2),
    Layer("resnet50.4_1x1", "conv", (1, 14, 14, 1024), ((1, 1, 1024, 256),)),
    Layer("resnet50.5_3x3", "conv", (1, 7, 7, 512), ((3, 3, 512, 512),)),
    # Inception v3 (Szegedy et al. 2015)
    Layer("inceptionv3.2a", "conv", (1, 149, 149, 32), ((3, 3, 32, 32),), 1, 1, "VALID"),
    Layer("inceptionv3.1x7", "conv", (1, 17, 17, 192), ((1, 7, 192, 192),)),
    Layer("inceptionv3.5x5", "conv", (1, 35, 35, 48), ((5, 5, 48, 64),)),
    # VGG-16 (Simonyan and Zisserman 2014)
    Layer("vgg16.1_2", "conv", (1, 224, 224, 64), ((3, 3, 64, 64),)),
    Layer("vgg16.4_2", "conv", (1, 28, 28, 512), ((3, 3, 512, 512),)),
    # DeepLab v3 (Chen et al. 2017): atrous
    Layer("deeplab.aspp6", "conv", (1, 33, 33, 256), ((3, 3, 256, 256),), 1, 6),
    Layer("deeplab.rate2", "conv", (1, 65, 65, 128), ((3, 3, 128, 128),), 1, 2),
    # WaveNet (van den Oord et al. 2016), TCN (Bai et al. 2018), wav2vec (Schneider et al. 2019)
    Layer("wavenet.d64", "conv", (1, 16000, 32), ((2, 32, 64),), 1, 64, "VALID"),
    Layer("tcn.k3", "conv", (8, 1000, 64), ((3, 64, 64),), 1, 4),
    Layer("wav2vec.conv0", "conv", (1, 16000, 1), ((10, 1, 512),), 5, 1, "VALID"),
    # C3D (Tran et al. 2015), 3-D U-Net (Cicek et al. 2016)
    Layer("c3d.conv2", "conv", (1, 16, 56, 56, 64), ((3, 3, 3, 64, 128),)),
    Layer("unet3d.enc1", "conv", (1, 32, 64, 64, 32), ((3, 3, 3, 32, 32),)),
    Layer("unet3d.first", "conv", (1, 64, 64, 64, 1), ((3, 3, 3, 1, 32),)),
    # image and signal filters: one channel in, one out
    Layer("image.5x5", "conv", (1, 1080, 1920, 1), ((5, 5, 1, 1),)),
    Layer("image.31x31", "conv", (1, 512, 512, 1), ((31, 31, 1, 1),)),
    Layer("signal.k401", "conv", (1, 100000, 1), ((401, 1, 1),)),
    # so little work that the call itself counts
    Layer("tiny.8x8", "conv", (1, 8, 8, 4), ((3, 3, 4, 8),)),
    Layer("tiny.64", "conv", (1, 64, 8), ((3, 8, 8),)),
    # upsampling: U-Net (Ronneberger et al. 2015), DCGAN (Radford et al. 2015), FCN (Long et al. 2014)
    Layer("unet.up2x2", "transpose", (1, 56, 56, 128), ((2, 2, 64, 128),), 2),
    Layer("dcgan.up4", "transpose", (1, 16, 16, 256), ((4, 4, 128, 256),), 2),
    Layer("fcn.up16s8", "transpose", (1, 32, 32, 21), ((16, 16, 21, 21),), 8),
    Layer("unet3d.up2", "transpose", (1, 16, 32, 32, 64), ((2, 2, 2, 32, 64),), 2),
    Layer("wavegan.up4", "transpose", (1, 4096, 64), ((24, 32, 64),), 4),
    # MobileNetV2 (Sandler et al. 2018), EfficientNet (Tan and Le 2019), ConvNeXt (Liu et al. 2022), Xception (Chollet 2016)
    Layer("mbv2.dw112", "depthwise", (1, 112, 112, 32), ((3, 3, 32, 1),)),
    Layer("mbv2.dw56", "depthwise", (1, 56, 56, 144), ((3, 3, 144, 1),)),
    Layer("mbv2.dw56s2", "depthwise", (1, 56, 56, 144), ((3, 3, 144, 1),), 2),
    Layer("effnet.dw14_5x5", "depthwise", (1, 14, 14, 480), ((5, 5, 480, 1),)),
    Layer("convnext.dw56_7x7", "depthwise", (1, 56, 56, 96), ((7, 7, 96, 1),)),
    Layer("xception.sep19", "separable", (1, 19, 19, 728), ((3, 3, 728, 1), (1, 1, 728, 728))),
    # strided and long filters: pix2pix (Isola et al. 2016), Wav2Letter (Collobert et al. 2016), Whisper (Radford et al. 2022)
    Layer("pix2pix.down4", "conv", (1, 128, 128, 64), ((4, 4, 64, 128),), 2),
    Layer("wav2letter.k13", "conv", (1, 1000, 250), ((13, 250, 250),)),
    Layer("whisper.conv1", "conv", (1, 3000, 80), ((3, 80, 512),)),
    # groups: ResNeXt-50 (Xie et al. 2016); an RGB image that is halved
    Layer("resnext50.2_3x3", "conv", (1, 56, 56, 128), ((3, 3, 4, 128),)),
    Layer("resnext50.3_3x3", "conv", (1, 28, 28, 256), ((3, 3, 8, 256),)),
    Layer("image.halved", "depthwise", (1, 480, 640, 3), ((3, 3, 3, 1),), 2),
)
BY_NAME = {layer.name: layer for layer in LAYERS}


def named(*ops: str) -> list[str]:
    """The names of all layers of these ops."""
    return [layer.name for layer in LAYERS if layer.op in ops]
