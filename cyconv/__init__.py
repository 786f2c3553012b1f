from cyconv._isa import available_isas, current_isa, isa
from cyconv._problem import ShapeError
from cyconv._threads import get_num_threads, set_num_threads, threads
from cyconv._version import __version__
from cyconv.convolution import conv2d
