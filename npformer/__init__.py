"""npformer"""
