"""Does a recipe fit on these devices, how long does it take, and is this machine ready for it?"""
