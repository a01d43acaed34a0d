"""What was said in requests and answers, read from every dialect into one form."""
