"""A simulator of a model server that batches continuously: OpenAI's API outside, a profile's timing inside, made-up words as text.

It exists so that sizing, routing and batching can be tried, demonstrated and tested where there is no GPU. It says that it is a
simulator wherever it is asked.
"""
