"""The embedded vision-language model: images of colored shapes, and training. In reading order:

__main__  The command: training, export, held-out loss.
scenes    Random scenes, and their captions.
drawing   Images of scenes.
model     The model under training, in functional style.
train     The training loop.
export    Writing a Hugging Face directory.
"""
