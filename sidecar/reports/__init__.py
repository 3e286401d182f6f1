"""What a period was like, for people: the success metrics, the noisy rules, and the pages that show them."""
