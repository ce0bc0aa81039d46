"""The layers, by topic; `npformer.nn` names them all."""
