"""text: paraphrased questions for the text-query benchmark."""
