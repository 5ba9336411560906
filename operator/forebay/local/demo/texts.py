"""What the demo asks: the questions of a support desk, and the sentences of its knowledge base."""

from __future__ import annotations

QUESTIONS = (
    "My parcel should have come on Monday. Where is it now?",
    "How do I change the address of an order that has not left yet?",
    "The invoice shows another VAT number than ours. Can you correct it?",
    "I was charged twice for the same subscription. What happens next?",
    "Can I swap the blue jacket for a green one in the next larger size?",
    "Your app signs me out every morning. What can I try?",
    "Which documents do you need to open an account for a company?",
    "How long is the guarantee on a battery, and what does it cover?",
    "I would like to give my remaining holiday to a colleague. Is that possible?",
    "The export to a spreadsheet loses the accents in names. Is there a setting?",
    "Please explain the difference between the two delivery options in plain words.",
    "We move offices in March. How do we take our telephone numbers with us?",
    "Summarise the last three messages of this customer for a new agent.",
    "Write a friendly answer to someone whose refund is a week late.",
    "What do I have to do so that two people must approve a payment?",
    "The heating shows error 42 after the update. Is it safe to go on?",
)
"""For the chat model. Asked at the default temperature, so no answer is given from the cache."""

SENTENCES = (
    "Reset your password on the sign-in page.",
    "A new password can be set with the link that we send by mail.",
    "Parcels are delivered within three working days.",
    "Orders that were placed before noon leave the warehouse on the same day.",
    "A courier brings heavy goods to the kerb.",
    "You can return goods within thirty days.",
    "Money is paid back to the card that was charged.",
    "A refund takes up to five working days to arrive.",
    "Invoices are sent on the first day of the month.",
    "The invoice's address can be changed in the account's settings.",
    "Batteries are guaranteed for two years.",
    "The guarantee does not cover broken glass.",
    "Turn the thermostat off before you open the housing.",
    "The boiler's pressure should be between one and two bar.",
    "Our offices are closed on public holidays.",
    "Support answers on weekdays from eight to six.",
    "Two people have to approve payments above a thousand.",
    "Administrators can see who signed in, and when.",
    "The app works without a network, and sends changes later.",
    "Export your data as a spreadsheet from the reports page.",
    "Telephone numbers can be moved from another provider.",
    "A second factor protects the account when a password is stolen.",
    "Cats and dogs are welcome in our shops.",
    "Gift cards are valid for three years.",
)
"""For the embeddings model. There are fewer of them than requests: the exact cache answers those that were asked before."""

QUERY = "I forgot my login and cannot get into my account"
"""Asked once, to show which sentence is nearest to it: these vectors are a real model's."""
