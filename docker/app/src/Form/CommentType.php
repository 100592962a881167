<?php

namespace App\Form;

use Symfony\Component\Form\AbstractType;
use Symfony\Component\Form\Extension\Core\Type\TextareaType;
use Symfony\Component\Form\FormBuilderInterface;
use Symfony\Component\Validator\Constraints\Length;
use Symfony\Component\Validator\Constraints\NotBlank;

final class CommentType extends AbstractType
{
    public function buildForm(FormBuilderInterface $builder, array $options): void
    {
        $builder->add('content', TextareaType::class, [
            'label' => 'Your comment',
            'attr' => ['rows' => 4, 'maxlength' => 10000],
            'constraints' => [
                new NotBlank(message: 'Please write something.'),
                new Length(max: 10000, maxMessage: 'A comment has at most {{ limit }} characters.'),
            ],
        ]);
    }
}
