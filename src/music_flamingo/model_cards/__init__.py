"""What a Hugging Face directory says of its model: card and licence."""
